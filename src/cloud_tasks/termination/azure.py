"""Watch for the termination notices of Azure: scheduled events of its metadata service."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from datetime import timezone
from email.utils import parsedate_to_datetime

from cloud_tasks.clock import Clock
from cloud_tasks.termination.base import Notice
from cloud_tasks.termination.metadata import Answer, MetadataError
from cloud_tasks.termination.polling import UNTOLD, PollingProbe, Question

#: Events that end the machine for good. Others are ignored: after a reboot or a redeployment the
#: machine is back while the event stays listed for minutes, which would end each new worker.
_ENDS = {"Preempt": "spot preempt", "Terminate": "terminate"}
_EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
_NAME = re.compile(r"[\w.-]+")
_COMPUTE = "/metadata/instance/compute/{}?api-version=2021-02-01&format=text"


class AzureProbe(PollingProbe):
    """Watches for the eviction or deletion of this machine.

    An eviction is announced 30 s ahead at best. Events of other machines of the same scale set
    arrive as well; they are ignored once the service has answered with this machine's own name.
    Azure advises to ask every second.
    """

    patience = 120.0  # of the first answer, because Azure starts the service at the first request

    def __init__(
        self, *, address: str | None = None, period: float = 1.0, clock: Clock | None = None
    ) -> None:
        super().__init__(address=address, period=period, clock=clock)
        self._name = ""

    def _questions(self) -> Sequence[Question]:
        return (self._events,) if self._name else (self._learn_name, self._events)

    def _ask_id(self) -> str:
        # Not vmId: a manager of machines knows them by name.
        return self._ask(_COMPUTE.format("name")).content()

    def _learn_name(self) -> None:
        # Without the name all events count as this machine's, which is the safe side.
        with contextlib.suppress(MetadataError):
            name = self._ask(_COMPUTE.format("name")).content()
            if _NAME.fullmatch(name):  # a wrong name would hide this machine's events
                self._name = name.casefold()

    def _events(self) -> Notice | None:
        events = self._ask(_EVENTS).mapping().get("Events")
        for event in events if isinstance(events, list) else []:
            if isinstance(event, dict) and self._is_ours(event.get("Resources")):
                kind = _ENDS.get(str(event.get("EventType")))
                if kind is not None:
                    return Notice(kind, self._time_left(event.get("NotBefore")))
        return None

    def _is_ours(self, resources: object) -> bool:
        if not self._name or not isinstance(resources, list) or not resources:
            return True
        return self._name in (str(name).casefold() for name in resources)

    def _time_left(self, not_before: object) -> float:
        if not not_before:
            return 0.0  # empty once the event has begun
        try:
            moment = parsedate_to_datetime(str(not_before))
        except (ValueError, OverflowError):
            return UNTOLD
        if moment.tzinfo is None:  # "-0000", which is UTC, is parsed like this
            moment = moment.replace(tzinfo=timezone.utc)
        return self._left(moment.timestamp())

    def _ask(self, path: str) -> Answer:
        return self._service.ask(path, {"Metadata": "true"})
