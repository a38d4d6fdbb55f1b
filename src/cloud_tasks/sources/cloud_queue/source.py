"""Deliver the tasks of a provider's queue: prefetched, held by leases, settled in batches.

    thread of the run                 cloud_tasks-receive           cloud_tasks-leases
    ─────────────────                 ───────────────────           ──────────────────
    receive() ◄── PrefetchBuffer ◄─── queue.receive(room)           every lease/4, at most 15 s:
                                      one request at a time         queue.extend(leases half over)
    task_ended() ─── makes room ────►

    outbox's thread
    ───────────────
    ack(), release(), dead_letter() ──► Leases.drop() ──► await_extension() ──► Settler ──► queue

All four share one lock, ``_changed``, which also guards the buffer; no request is made under it.

At a shutdown, in this order:

1. ``drain()``: nothing more is delivered, and the request under way is not repeated. It can't be
   cancelled without losing the messages in its answer; when it has ended, the receiving thread
   gives back all that waits in the buffer.
2. Running tasks end and are settled; their leases are still extended.
3. ``close()`` waits for the receiving thread and for threads that settle, stops the thread that
   extends, gives back the leases that are still held, and closes the connections.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from cloud_tasks.clock import Clock
from cloud_tasks.errors import SourceError
from cloud_tasks.queues.base import Message
from cloud_tasks.queues.retrying import RetryingQueue
from cloud_tasks.sources.base import Limits, TaskSource
from cloud_tasks.sources.cloud_queue.leases import Lease, Leases
from cloud_tasks.sources.cloud_queue.messages import to_delivery
from cloud_tasks.sources.cloud_queue.prefetch import PrefetchBuffer, PrefetchPolicy
from cloud_tasks.sources.cloud_queue.settler import Settler
from cloud_tasks.sources.entries import raised
from cloud_tasks.system.shortage import start_thread
from cloud_tasks.task import Batch, Delivery, Malformed

logger = logging.getLogger(__name__)

#: Seconds that a request waits for messages, at first and after several without any. A shutdown
#: waits for the request under way, so it is short.
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 5.0
#: Seconds that `close` waits for that request, whose answer may be late, and for threads that
#: settle; and the same after ``drain(now=True)``.
CLOSE_TIMEOUT, CLOSE_TIMEOUT_NOW = _LONGEST_WAIT + 5.0, 1.0
#: Seconds for which giving back the tasks in the buffer is retried.
_GIVE_BACK_BUDGET = 4.0
#: Seconds between two checks for what wakes no waiting thread: a signal that was delivered to
#: another thread, while this one is the main thread, and the end of a thread.
_CHECK_INTERVAL = 0.2


class QueueSource(TaskSource):
    """The tasks in *queue*, whose retries end when *stop* is set; ``drain`` sets it.

    A lease without an extension lasts *lease* seconds, clipped to the provider's limits.
    """

    def __init__(
        self,
        queue: RetryingQueue,
        settler: Settler,
        *,
        lease: float,
        policy: PrefetchPolicy,
        stop: threading.Event,
        clock: Clock,
    ) -> None:
        limits = queue.limits
        self.limits = Limits(requeues=True, settle=limits.settle, heeds_drain=True)
        self._queue = queue
        self._settler = settler
        self._lease = min(max(lease, limits.min_lease), limits.max_lease)
        self._idle = math.inf if policy.idle is None else policy.idle
        self._stop = stop
        self._clock = clock
        self._leases = Leases(settler.queue, self._lease, clock)
        self._changed = threading.Condition()
        self._buffer = PrefetchBuffer(policy, limits.receive, clock)
        self._settling = 0  # calls that settle, in any thread
        self._failure: SourceError | None = None
        self._draining = False
        self._close_now = False
        self._closed = False
        self._receiver = threading.Thread(
            target=self._receive_all, name="cloud_tasks-receive", daemon=True
        )

    def __str__(self) -> str:
        return str(self._queue)

    # -- the thread of the run, and those that settle

    def open(self) -> None:
        """Check that the queue exists; blocks. Messages are received from the first receive on.

        Raises:
            QueueError: it is missing, forbidden, or could not be reached for a minute.
        """
        info = self._queue.check()
        if not info.counts_attempts:
            logger.warning(
                "%s does not count deliveries, so tasks that fail are retried without limit: "
                "`cloud_tasks load_queue` makes queues that do",
                self._queue,
            )

    def receive(self, n: int) -> Batch:
        """Return up to *n* tasks; blocks until there is one or the source has ended.

        Raises:
            QueueError: receiving failed for good.
        """
        with self._changed:
            self._start()
            while self._draining or not self._buffer:
                if self._failure is not None:
                    raise self._failure
                if self._draining or self._buffer.left <= 0 or self._buffer.is_idle():
                    return Batch(ended=True)
                self._changed.wait(_CHECK_INTERVAL)
            items, lost = self._buffer.take(n, self._leases.is_lost)
            self._leases.drop(lost)
            self._changed.notify_all()
        return Batch(
            tuple(item for item in items if isinstance(item, Delivery)),
            tuple(item for item in items if isinstance(item, Malformed)),
        )

    def _start(self) -> None:
        if self._receiver.ident is not None or self._draining:
            return
        self._buffer.busy(until=self._clock.monotonic())
        self._leases.start()
        start_thread(self._receiver)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Delete the messages of *deliveries*; blocks, no longer than the leases last."""
        with self._dropped(deliveries) as leases:
            self._settler.ack(leases)

    def release(self, deliveries: Sequence[Delivery], *, delay: float = 0.0) -> None:
        """Give *deliveries* back; blocks, no longer than the leases last."""
        # A task that we released and that waits for its next attempt keeps the source busy.
        with self._dropped(deliveries, busy_for=delay) as leases:
            self._settler.release(leases, delay=delay)

    def dead_letter(self, items: Sequence[Delivery | Malformed]) -> None:
        """Move the messages of *items* to the dead-letter queue; blocks."""
        with self._dropped(items) as leases:
            self._settler.dead_letter(leases)

    @contextlib.contextmanager
    def _dropped(
        self, items: Sequence[Delivery | Malformed], *, busy_for: float = 0.0
    ) -> Iterator[list[Lease]]:
        """Stop holding *items*; yield the leases that were not lost, to be settled in the block."""
        leases: list[Lease] = [item.receipt for item in items]
        with self._changed:
            self._settling += 1
            for lease in leases:
                self._buffer.ended(lease)
            self._changed.notify_all()
        try:
            valid = self._leases.drop(leases)
            self._leases.await_extension(valid)
            yield valid
        finally:
            with self._changed:
                self._settling -= 1
                for lease in leases:
                    self._buffer.gone(lease)
                self._buffer.busy(until=self._clock.monotonic() + busy_for)
                self._changed.notify_all()

    def task_ended(self, delivery: Delivery) -> None:
        """Make room for another task; the lease of *delivery* is kept until it is settled."""
        with self._changed:
            self._buffer.ended(delivery.receipt)
            if self._buffer.room():
                self._changed.notify_all()

    def set_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Hold *deliveries* until ``close``."""
        with self._changed:
            for delivery in deliveries:
                self._buffer.gone(delivery.receipt)
            self._buffer.left += len(deliveries)
            self._changed.notify_all()

    def has_lost(self, delivery: Delivery) -> bool:
        """Tell whether the lease of *delivery* is over."""
        return self._leases.is_lost(delivery.receipt)

    @property
    def waiting(self) -> int:
        """The number of tasks in the buffer."""
        return len(self._buffer)

    def drain(self, *, now: bool = False) -> None:
        """Receive nothing more; buffered tasks go back when the request under way has ended."""
        with self._changed:
            self._draining = True
            self._close_now = self._close_now or now
            self._changed.notify_all()
        self._stop.set()
        if now:
            self._settler.stop_retrying()

    def close(self) -> None:
        """Give all held tasks back and close the connections; blocks for the last requests."""
        with self._changed:
            already, self._closed = self._closed, True
        if already:
            return
        self.drain()
        self._wait_for(lambda: not self._receiver.is_alive())
        self._settler.stop_retrying()
        # Other threads that settle use the connections that are closed below.
        self._wait_for(lambda: not self._settling)
        self._leases.stop()
        self._settler.release(self._leases.drop(self._leases.held()))
        logger.debug("requests to %s: %s", self._queue, dict(self._queue.requests))
        self._queue.close()
        self._settler.close()

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        """Block until *condition* holds, for CLOSE_TIMEOUT or CLOSE_TIMEOUT_NOW at most."""
        began = time.monotonic()
        with self._changed:
            while not condition():
                timeout = CLOSE_TIMEOUT_NOW if self._close_now else CLOSE_TIMEOUT
                left = began + timeout - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, _CHECK_INTERVAL))

    # -- the thread that receives

    def _receive_all(self) -> None:
        try:
            wait = _FIRST_WAIT
            while (n := self._await_room()) is not None:
                received = self._receive_some(n, wait)
                wait = _FIRST_WAIT if received else min(2 * wait, _LONGEST_WAIT)
        except SourceError as error:
            self._fail(error)
        except BaseException as error:
            logger.exception("receiving from %s failed", self._queue)
            self._fail(SourceError(f"receiving from {self._queue} failed: {raised(error)}"))
        self._give_back_buffer()

    def _await_room(self) -> int | None:
        """Block until there is room for tasks; return for how many, None at the end."""
        with self._changed:
            while not (self._draining or self._buffer.is_idle()):
                if room := self._buffer.room():
                    return room
                self._changed.wait()
        return None

    def _receive_some(self, n: int, wait: float) -> int:
        """Make one request for *n* tasks that waits *wait* seconds; return how many came."""
        # A message that comes at the end of the wait shall still have most of its lease.
        wait = min(wait, self._lease / 4, self._queue.limits.longest_wait, self._idle)
        asked = asked_boot = 0.0

        def record_time() -> None:
            nonlocal asked, asked_boot
            asked, asked_boot = self._clock.monotonic(), self._clock.boot()

        messages = self._queue.receive(n, wait=wait, lease=self._lease, on_try=record_time)
        self._accept(messages, asked, asked_boot)
        if not messages:
            # Some providers answer at once that there is no message.
            took = self._clock.monotonic() - asked
            if took < wait / 4:
                self._stop.wait(min(wait - took, 1.0))
        return len(messages)

    def _accept(self, messages: Sequence[Message], asked: float, asked_boot: float) -> None:
        """Buffer *messages*, which came in answer to a request made at *asked*."""
        # Decoding takes a while, so it is done without the lock.
        leases = [self._leases.add(message, asked_boot) for message in messages]
        items = [to_delivery(lease.message, lease) for lease in leases if lease is not None]
        with self._changed:
            if items or not messages:  # else all were repeats of held messages
                self._buffer.put(items, asked)
            self._changed.notify_all()

    def _fail(self, error: SourceError) -> None:
        with self._changed:
            if not self._draining:
                self._failure = error
            self._changed.notify_all()

    def _give_back_buffer(self) -> None:
        with self._changed:
            ready = self._buffer.take_all()
        leases = self._leases.drop(ready)
        self._leases.await_extension(leases)
        self._settler.release(leases, budget=_GIVE_BACK_BUDGET)
