"""Notices of Google Compute Engine, from its metadata server."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_tasks.clock import Clock
from cloud_tasks.termination.base import Notice
from cloud_tasks.termination.metadata import MetadataError, MetadataService
from cloud_tasks.termination.polling import UNTOLD, PollingProbe, Question


class GcpProbe(PollingProbe):
    """Hears that a spot machine is preempted, or that maintenance of its host will end it.

    Google promises 30 s from a preemption to its end and tells no time, so every second counts.
    Maintenance that moves the machine while it runs ends nothing and is no notice.

    Args:
        address: ``http://HOST:PORT`` of the service, see :class:`.metadata.MetadataService`; the
            provider's variable is ``GCE_METADATA_HOST``.
        period: seconds from one round of questions to the next.
        clock: for tests.
    """

    def __init__(
        self, *, address: str | None = None, period: float = 1.0, clock: Clock | None = None
    ) -> None:
        service = MetadataService(address, variable="GCE_METADATA_HOST")
        super().__init__(service, period=period, clock=clock)

    def _questions(self) -> Sequence[Question]:
        return self._preemption, self._maintenance

    def _ask_id(self) -> str:
        return self._ask("id")

    def _preemption(self) -> Notice | None:
        answer = self._ask("preempted")
        if answer not in {"TRUE", "FALSE"}:
            raise MetadataError(f"preempted: {answer[:80]!r} is neither TRUE nor FALSE")
        return Notice("preempted", UNTOLD) if answer == "TRUE" else None

    def _maintenance(self) -> Notice | None:
        if self._ask("maintenance-event") == "TERMINATE_ON_HOST_MAINTENANCE":
            return Notice("host maintenance: terminate", UNTOLD)
        return None

    def _ask(self, name: str) -> str:
        path = f"/computeMetadata/v1/instance/{name}"
        return self._service.ask(path, {"Metadata-Flavor": "Google"}).content()
