"""Poll a metadata service for notices: the loop of all three providers' probes."""

from __future__ import annotations

import abc
import logging
import math
import re
import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

from cloud_tasks.clock import Clock
from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.termination.metadata import MetadataError, MetadataService

logger = logging.getLogger(__name__)

#: Seconds from a notice to the kill if the provider names no time; it promises 30 s.
UNTOLD = 25.0
#: Seconds before the announced end at which tasks are killed, to leave time to hand them back.
MARGIN = 5.0
_MINUTE = 60.0
_NAME = re.compile(r"[\w.-]+")

#: Makes one request for a notice; raises :class:`MetadataError`.
Question = Callable[[], Notice | None]


class PollingProbe(TerminationProbe):
    """Polls a metadata service while ``wait`` is called.

    Trouble with the service is never an error: it is logged, and polling goes on.

    Args:
        address: ``http://HOST:PORT`` of the service, see :class:`.metadata.MetadataService`.
        period: seconds from one round of questions to the next.
        clock: replaced in tests.
    """

    #: The provider's own variable for the address.
    variable: ClassVar[str | None] = None
    #: Seconds without an answer before the first warning.
    patience: ClassVar[float] = 0.0

    def __init__(
        self, *, address: str | None = None, period: float = 1.0, clock: Clock | None = None
    ) -> None:
        self._service = MetadataService(address, variable=self.variable)
        self._period = period
        self._clock = Clock() if clock is None else clock
        self._trouble = _Trouble(self._service.address, self._clock, self.patience)
        self._reported: set[str] = set()

    @abc.abstractmethod
    def _questions(self) -> Sequence[Question]:
        """Return the questions of a round; those for final notices come first."""

    @abc.abstractmethod
    def _ask_id(self) -> str:
        """Return the name of this machine; raises :class:`MetadataError`."""

    def wait(self, stop: threading.Event) -> Notice | None:
        """Block until there is a notice, or *stop* is set: then return None.

        Returns within some 2 s of *stop*, even if the service hangs.
        """
        while not stop.is_set():
            notice = self._round(stop)
            if notice is not None:
                return notice
            stop.wait(self._period)
        return None

    def instance_id(self) -> str | None:
        """Return the provider's name for this machine; None: the service gives none."""
        try:
            name = self._ask_id()
        except MetadataError:
            return None
        return name if _NAME.fullmatch(name) else None  # it may be the page of a proxy

    def _round(self, stop: threading.Event) -> Notice | None:
        trouble: MetadataError | None = None
        for question in self._questions():
            if stop.is_set():
                return None
            try:
                notice = question()
            except MetadataError as error:
                # The next question may be answered even so.
                trouble = trouble or error
                continue
            if notice is not None and self._is_new(notice):
                return notice
        self._trouble.record(trouble)
        return None

    def _is_new(self, notice: Notice) -> bool:
        if notice.final:
            return True
        known = notice.kind in self._reported
        self._reported.add(notice.kind)
        return not known

    def _left(self, end: float) -> float:
        """Return the seconds until tasks are killed if the machine ends at *end*, in wall time."""
        return max(0.0, end - self._clock.wall() - MARGIN)


class _Trouble:
    """Log that a service gives no answer, at most once a minute, and that it answers again."""

    def __init__(self, address: str, clock: Clock, patience: float) -> None:
        self._address = address
        self._clock = clock
        self._patience = patience
        self._since: float | None = None
        self._logged = -math.inf
        self._warned = False

    def record(self, error: MetadataError | None) -> None:
        """Record the result of a round; None: all questions were answered."""
        if error is not None:
            self._failed(error)
        elif self._since is not None:
            if self._warned:
                logger.info("the metadata service at %s answers again", self._address)
            self._since, self._warned = None, False

    def _failed(self, error: MetadataError) -> None:
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        if now - self._since < self._patience or now - self._logged < _MINUTE:
            return
        logger.log(
            logging.DEBUG if self._warned else logging.WARNING,
            "no answer from the metadata service at %s: spot notices can't be received (%s)",
            self._address,
            error,
        )
        self._logged, self._warned = now, True
