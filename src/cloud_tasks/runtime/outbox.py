"""Send events to remote sinks, then settle their deliveries, in a background thread.

    put ──► inbox ──► _collect ──► _send: every sink ──► _settle: ack, release, dead letter
                      (a batch, or 0.5 s)

Requests take milliseconds to minutes, so this thread makes them, for many tasks at a time. The
order holds all the same: a task is settled after its events were accepted by every sink. Where
the source takes nothing back and there is no remote sink, this does nothing at all.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from cloud_tasks.clock import next_of
from cloud_tasks.errors import EventLogError
from cloud_tasks.events.sink import EventSink
from cloud_tasks.policy import Decision, Settlement
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.entries import raised
from cloud_tasks.system.shortage import start_thread
from cloud_tasks.task import Delivery, Malformed

logger = logging.getLogger(__name__)

#: Seconds that the first event of a batch waits for others.
_LINGER = 0.5
#: Seconds between two checks whether the timeout of ``finish`` has become shorter.
_CHECK_PERIOD = 0.2
#: Unsent events, and bytes of them, at which no further task is received, and at which it goes on.
_FULL, _ROOMY = 1000, 500
_FULL_BYTES, _ROOMY_BYTES = 64 * 2**20, 32 * 2**20
#: Seconds between two warnings that too many events wait.
_WARN_EVERY = 60.0

#: A delivery that has ended, or an entry that is not a task, and the decision about it.
Settled: TypeAlias = tuple[Delivery | Malformed, Decision]


class Outbox:
    """The outbox of a run; ``put`` and ``stop_lingering`` may be called from any thread.

    Args:
        sinks: the remote sinks.
        on_full: called with True when too many events wait, with False when there is room again.
            It must neither block nor call this object.
        on_failure: called once, when a sink has failed for good. Later events are not sent, and
            their tasks not settled.

    Attributes:
        needed: there is a remote sink, or a source that takes tasks back.
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
        #: Events, and the deliveries to settle once all of them are sent; None ends the thread.
        self._inbox: queue.SimpleQueue[tuple[list[bytes], list[Settled]] | None]
        self._inbox = queue.SimpleQueue()
        # At most _ROOMY: a larger batch that fills up would already count as a backlog.
        settle = source.limits.settle if source.limits.requeues else 10
        self._batch_size = min(max(1, settle), _ROOMY)
        self._lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self._full = False
        self._warned = -math.inf
        self._linger = True
        self._broken = False
        self._ended = False
        # For the thread only: events to send; deliveries, with the number of events that must be
        # sent before; deliveries that may be settled.
        self._lines: list[bytes] = []
        self._unsent: deque[tuple[int, list[Settled]]] = deque()
        self._settled: list[Settled] = []
        self._received = self._sent = 0
        self._opened = self._closed = False
        self.needed = bool(sinks) or source.limits.requeues
        self._thread = threading.Thread(target=self._work, name="cloud_tasks-outbox", daemon=True)

    def open(self) -> None:
        """Open the sinks and start the thread, unless ``finish`` was called; blocks.

        Raises:
            EventLogError: a sink can't be used.
        """
        for sink in self._sinks:
            sink.open()
        with self._lock:
            self._opened = self.needed and not self._closed
        if self._opened:
            start_thread(self._thread)

    def put(self, lines: list[bytes], settled: list[Settled]) -> None:
        """Have *lines* sent, and afterwards *settled* settled; doesn't block."""
        if not self.needed:
            return
        self._count(len(lines), sum(map(len, lines)))
        self._inbox.put((lines, settled))

    def stop_lingering(self) -> None:
        """Send each event at once from now on; end the opening of a sink that still blocks."""
        self._linger = False
        with self._lock:
            self._closed = not self._opened
        if self._closed:
            self.close()
        self._inbox.put(([], []))

    def finish(self, timeout: Callable[[], float]) -> None:
        """Wait until all events are sent and all deliveries settled.

        *timeout* returns the seconds that this may take; it becomes shorter at a stop, so it is
        called repeatedly.

        Raises:
            EventLogError: it took longer.
        """
        if not self.needed:
            return
        self.stop_lingering()
        if self._closed:
            return
        self._inbox.put(None)
        began = time.monotonic()
        while self._thread.is_alive():
            left = began + timeout() - time.monotonic()
            if left <= 0:
                raise EventLogError(
                    "the last events could not be sent in time: their tasks will run again"
                )
            self._thread.join(min(left, _CHECK_PERIOD))

    def close(self) -> None:
        """Close the sinks, which ends their requests. May be called more than once."""
        for sink in self._sinks:
            sink.close()

    # -- the thread

    def _work(self) -> None:
        while not self._ended:
            try:
                due = self._collect()
                self._send(due)
                self._settle(due)
            except BaseException as error:
                logger.exception("sending events or settling tasks failed")
                self._fail(EventLogError(f"sending events failed: {raised(error)}"))

    def _collect(self) -> bool:
        """Wait for a full batch; return True if its first item has waited long enough instead."""
        deadline = math.inf if not (self._lines or self._settled) else time.monotonic() + _LINGER
        while max(len(self._lines), len(self._settled)) < self._batch_size:
            left = deadline - time.monotonic()
            if not self._linger and deadline < math.inf:
                left = 0.0
            try:
                parcel = next_of(self._inbox, None if left == math.inf else left)
            except queue.Empty:
                return True
            if parcel is None:
                self._ended = True
                return True
            lines, settled = parcel
            self._lines += lines
            self._received += len(lines)
            if settled:
                self._unsent.append((self._received, settled))
            self._release_sent()
            if self._lines or self._settled:
                deadline = min(deadline, time.monotonic() + _LINGER)
        return False

    def _release_sent(self) -> None:
        """Mark those deliveries for settling whose events are all sent."""
        while self._unsent and self._unsent[0][0] <= self._sent:
            self._settled += self._unsent.popleft()[1]

    def _send(self, due: bool) -> None:
        """Write full batches of events to every sink, and if *due* the rest as well."""
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
                self._release_sent()

    def _fail(self, error: EventLogError) -> None:
        if not self._broken:
            self._broken = True
            self._on_failure(error)

    def _settle(self, due: bool) -> None:
        """Settle full batches of deliveries, and if *due* the rest as well."""
        while len(self._settled) >= self._batch_size or (due and self._settled):
            batch = self._settled[: self._batch_size]
            del self._settled[: self._batch_size]
            groups: dict[tuple[Settlement, float], list[Delivery | Malformed]] = {}
            for item, decision in batch:
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
        """Add *lines* and their *size* in bytes to the backlog, or subtract them if negative."""
        # The callback is under the lock: in the wrong order the last call would say "full".
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
                if full and time.monotonic() - self._warned >= _WARN_EVERY:
                    self._warned = time.monotonic()
                    logger.warning(
                        "%d events wait to be sent: no new task starts until there are fewer",
                        self._waiting,
                    )
