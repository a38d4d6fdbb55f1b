"""The loop that all probes of metadata services have in common."""

from __future__ import annotations

import abc
import logging
import math
import threading
from collections.abc import Callable, Sequence

from cloud_tasks.clock import Clock
from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.termination.metadata import MetadataError, MetadataService

logger = logging.getLogger(__name__)

#: Seconds from a notice to the kill where the provider tells no time: 30 s are promised.
UNTOLD = 25.0
#: Seconds before the announced end at which tasks are killed, so that they can be handed back.
MARGIN = 5.0
_MINUTE = 60.0

#: Asks one thing by one request; raises :class:`MetadataError`.
Question = Callable[[], Notice | None]


class PollingProbe(TerminationProbe):
    """Asks a metadata service for as long as it is waited for.

    Trouble with the service is never an error: it is logged, and asking goes on.

    Args:
        service: is asked.
        period: seconds from one round of questions to the next.
        clock: for the time that is left until an announced end.
        patience: seconds without an answer that are worth no warning.
    """

    def __init__(
        self,
        service: MetadataService,
        *,
        period: float,
        clock: Clock | None,
        patience: float = 0.0,
    ) -> None:
        self._service = service
        self._period = period
        self._clock = Clock() if clock is None else clock
        self._trouble = _Trouble(service.address, self._clock, patience)
        self._told: set[str] = set()

    @abc.abstractmethod
    def _questions(self) -> Sequence[Question]:
        """Return what a round asks; what may be final comes first."""

    @abc.abstractmethod
    def _ask_id(self) -> str:
        """Ask what this machine is called; raises :class:`MetadataError`."""

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
        """Return the provider's name for this machine; None if the service doesn't say."""
        try:
            return self._ask_id() or None
        except MetadataError:
            return None

    def _round(self, stop: threading.Event) -> Notice | None:
        trouble: MetadataError | None = None
        for question in self._questions():
            if stop.is_set():
                return None
            try:
                notice = question()
            except MetadataError as error:
                # The next one may be answered all the same.
                trouble = trouble or error
                continue
            if notice is not None and self._is_news(notice):
                return notice
        self._trouble.note(trouble)
        return None

    def _is_news(self, notice: Notice) -> bool:
        if notice.final:
            return True
        known = notice.kind in self._told
        self._told.add(notice.kind)
        return not known

    def _left(self, end: float) -> float:
        """Return the seconds until tasks are killed if the machine goes at *end*, wall time."""
        return max(0.0, end - self._clock.wall() - MARGIN)


class _Trouble:
    """Says that a service gives no answer, and that it does again: at most once a minute."""

    def __init__(self, address: str, clock: Clock, patience: float) -> None:
        self._address = address
        self._clock = clock
        self._patience = patience
        self._since: float | None = None
        self._said = -math.inf
        self._warned = False

    def note(self, error: MetadataError | None) -> None:
        """Take in how a round went."""
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
        if now - self._since < self._patience or now - self._said < _MINUTE:
            return
        logger.log(
            logging.DEBUG if self._warned else logging.WARNING,
            "no answer from the metadata service at %s: spot notices can't be heard (%s)",
            self._address,
            error,
        )
        self._said, self._warned = now, True
