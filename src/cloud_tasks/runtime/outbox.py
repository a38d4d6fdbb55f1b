"""What has to reach somebody far away: events for their queue, then what became of the tasks.

Requests take milliseconds to minutes, so they are made here, in a thread of their own, and for
many tasks at a time. The order holds all the same: a task is settled after its event was taken.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cloud_tasks.clock import next_of
from cloud_tasks.errors import EventLogError
from cloud_tasks.events.sink import EventSink
from cloud_tasks.policy import Decision, Settlement
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery, Malformed

logger = logging.getLogger(__name__)

#: Seconds that the first of a batch waits for others.
_LINGER = 0.5
#: Seconds between two looks whether patience has become less.
_LOOK = 0.2
#: Unsent events, and bytes of them, at which no further task is taken in, and at which it goes on.
_FULL, _ROOMY = 1000, 500
_FULL_BYTES, _ROOMY_BYTES = 64 * 2**20, 32 * 2**20
#: Seconds between two warnings that too much is waiting.
_WARN_EVERY = 60.0

#: A delivery that is over, or an entry that is no task, and what is to be done with it.
Settled: TypeAlias = tuple[Delivery | Malformed, Decision]


@dataclass(slots=True)
class _Parcel:
    """Events, and what may be settled when all of them were taken."""

    lines: list[bytes] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)


class Outbox:
    """Sends to *sinks*, then tells *source*. Does nothing at all where neither is far away.

    Args:
        source: is told only if it can take tasks back.
        sinks: slow ones.
        on_full: called with True when too much is waiting, with False when it isn't any more;
            it must neither block nor come back here.
        on_failure: called once, when a sink has failed for good. What comes after that is
            neither sent nor settled.

    Attributes:
        needed: there is somebody far away.
    """

    def __init__(
        self,
        source: TaskSource,
        sinks: Sequence[EventSink],
        *,
        on_full: Callable[[bool], None],
        on_failure: Callable[[EventLogError], None],
    ) -> None:
        self._source = source
        self._sinks = sinks
        self._on_full = on_full
        self._on_failure = on_failure
        self._inbox: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        # No more than may be missing when it is full: a batch that fills up is no backlog.
        settle = source.limits.settle if source.limits.requeues else 10
        self._batch_size = min(max(1, settle), _ROOMY)
        self._lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self._full = False
        self._warned = -math.inf
        self._hurry = False
        self._broken = False
        self._ended = False
        # What only the thread knows: events to send, what waits for them, what they let settle.
        self._lines: list[bytes] = []
        self._parcels: deque[tuple[int, list[Settled]]] = deque()
        self._settled: list[Settled] = []
        self._taken = self._sent = 0
        self._opened = self._closed = False
        self.needed = bool(sinks) or source.limits.requeues
        self._thread = threading.Thread(target=self._work, name="cloud_tasks-outbox", daemon=True)

    def open(self) -> None:
        """Open the sinks and begin to send; blocks. Nothing begins if they were closed meanwhile.

        Raises:
            EventLogError: a sink can't be used.
        """
        for sink in self._sinks:
            sink.open()
        with self._lock:
            self._opened = self.needed and not self._closed
        if self._opened:
            self._thread.start()

    def put(self, lines: list[bytes], settled: list[Settled]) -> None:
        """Send *lines*, and when they were taken settle *settled*. Doesn't block."""
        if not self.needed:
            return
        self._count(len(lines), sum(map(len, lines)))
        self._inbox.put(_Parcel(lines, settled))

    def hurry(self) -> None:
        """Wait for no further ones from now on, and no longer for a sink that is being opened."""
        self._hurry = True
        with self._lock:
            self._closed = not self._opened
        if self._closed:
            self.close()
        self._inbox.put(_Parcel())

    def finish(self, patience: Callable[[], float]) -> None:
        """Wait until all is sent and settled.

        Args:
            patience: tells how many seconds that may take; asked again and again.

        Raises:
            EventLogError: it took longer.
        """
        if not self.needed:
            return
        self.hurry()
        if self._closed:
            return
        self._inbox.put(None)
        began = time.monotonic()
        while self._thread.is_alive():
            left = began + patience() - time.monotonic()
            if left <= 0:
                raise EventLogError(
                    "the last events could not be sent in time: their tasks will run again"
                )
            self._thread.join(min(left, _LOOK))

    def close(self) -> None:
        """Close the sinks, which ends a request of theirs. May be called more than once."""
        for sink in self._sinks:
            sink.close()

    # -- the thread

    def _work(self) -> None:
        while not self._ended:
            due = self._collect()
            try:
                self._send(due)
                self._settle(due)
            except Exception as error:
                logger.exception("sending events or settling tasks failed")
                self._fail(EventLogError(f"sending events failed: {error!r}"))

    def _collect(self) -> bool:
        """Take in what comes until there is a full batch; True if the first has waited enough."""
        deadline = math.inf if not (self._lines or self._settled) else time.monotonic() + _LINGER
        while max(len(self._lines), len(self._settled)) < self._batch_size:
            left = deadline - time.monotonic()
            if self._hurry and deadline < math.inf:
                left = 0.0
            try:
                parcel = next_of(self._inbox, None if left == math.inf else left)
            except queue.Empty:
                return True
            if parcel is None:
                self._ended = True
                return True
            self._take(parcel)
            if self._lines or self._settled:
                deadline = min(deadline, time.monotonic() + _LINGER)
        return False

    def _take(self, parcel: _Parcel) -> None:
        self._lines += parcel.lines
        self._taken += len(parcel.lines)
        if parcel.settled:
            self._parcels.append((self._taken, parcel.settled))
        self._open_parcels()

    def _open_parcels(self) -> None:
        """Let settle what all events before it were sent for."""
        while self._parcels and self._parcels[0][0] <= self._sent:
            self._settled += self._parcels.popleft()[1]

    def _send(self, due: bool) -> None:
        """Give full batches of events to every sink, and if *due* the rest as well."""
        while len(self._lines) >= self._batch_size or (due and self._lines):
            batch, self._lines = self._lines[: self._batch_size], self._lines[self._batch_size :]
            try:
                for sink in () if self._broken else self._sinks:
                    sink.write(batch)
            except EventLogError as error:
                self._fail(error)
            self._count(-len(batch), -sum(map(len, batch)))
            if not self._broken:
                self._sent += len(batch)
                self._open_parcels()

    def _fail(self, error: EventLogError) -> None:
        if not self._broken:
            self._broken = True
            self._on_failure(error)

    def _settle(self, due: bool) -> None:
        while len(self._settled) >= self._batch_size or (due and self._settled):
            batch = self._settled[: self._batch_size]
            del self._settled[: self._batch_size]
            self._tell(batch)

    def _tell(self, settled: Sequence[Settled]) -> None:
        groups: dict[tuple[Settlement, float], list[Delivery | Malformed]] = {}
        for item, decision in settled:
            groups.setdefault((decision.settlement, decision.delay), []).append(item)
        for (settlement, delay), items in groups.items():
            deliveries = [item for item in items if isinstance(item, Delivery)]
            if settlement is Settlement.ACK:
                self._source.ack(deliveries)
            elif settlement is Settlement.RELEASE:
                self._source.release(deliveries, delay=delay)
            else:
                self._source.dead_letter(items)

    def _count(self, lines: int, size: int) -> None:
        """Count what came in or, if negative, went out."""
        # Told under the lock: in the wrong order nobody would ever tell that there is room again.
        with self._lock:
            self._waiting += lines
            self._waiting_bytes += size
            if self._full:
                full = self._waiting > _ROOMY or self._waiting_bytes > _ROOMY_BYTES
            else:
                full = self._waiting >= _FULL or self._waiting_bytes >= _FULL_BYTES
            if full is not self._full:
                self._full = full
                self._on_full(full)
                if full:
                    self._warn()

    def _warn(self) -> None:
        now = time.monotonic()
        if now - self._warned >= _WARN_EVERY:
            self._warned = now
            logger.warning(
                "%d events wait to be sent: no new task starts until there are fewer", self._waiting
            )
