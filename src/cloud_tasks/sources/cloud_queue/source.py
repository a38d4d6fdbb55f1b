"""Tasks from a provider's queue: received ahead of need, held by leases, settled in batches.

Whoever runs tasks sees an ordinary source. Behind it one thread receives, with one request under
way, and another one extends leases. How much is received ahead follows from how long tasks take:
as much as the slots use up in three seconds, so long tasks are not hoarded.
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
from cloud_tasks.task import Batch, Delivery, Malformed

logger = logging.getLogger(__name__)

#: Seconds that a request waits for messages: at first, and when there were none for long. It
#: can't be taken back without losing what it brings, so a shutdown waits for it.
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 5.0
#: Seconds that `close` waits for that request: its own wait and an answer that is late; and where
#: somebody is in a hurry.
PATIENCE, PATIENCE_IN_HASTE = _LONGEST_WAIT + 5.0, 1.0
#: Seconds that giving back what waits here is tried, when a run ends.
_GIVING_BACK = 4.0
#: Seconds between two looks at what nobody tells of: a signal that another thread was given, while
#: this one is the main thread, or the end of a thread.
_LOOK = 0.2


class QueueSource(TaskSource):
    """The tasks in *queue*.

    Args:
        queue: where they come from, with retries that end when the run is told to stop.
        settler: settles what comes from it.
        lease: seconds that a delivery is ours without an extension.
        appetite: how much to hold.
        stop: set to end the retries of *queue*.
    """

    def __init__(
        self,
        queue: RetryingQueue,
        settler: Settler,
        *,
        lease: float,
        appetite: PrefetchPolicy,
        stop: threading.Event,
        clock: Clock,
    ) -> None:
        limits = queue.limits
        self.limits = Limits(requeues=True, settle=limits.settle, heeds_drain=True)
        self._queue = queue
        self._settler = settler
        self._lease = min(max(lease, limits.min_lease), limits.max_lease)
        self._idle = math.inf if appetite.idle is None else appetite.idle
        self._stop = stop
        self._clock = clock
        self._leases = Leases(settler.queue, self._lease, clock)
        self._changed = threading.Condition()
        self._stock = PrefetchBuffer(appetite, limits.receive, clock)
        self._settling = 0
        self._failure: SourceError | None = None
        self._begun = False
        self._draining = False
        self._hurry = False
        self._closed = False
        self._receiver = threading.Thread(
            target=self._receive_all, name="cloud_tasks-receive", daemon=True
        )

    def __str__(self) -> str:
        return str(self._queue)

    # -- from the run

    def open(self) -> None:
        """Make sure that the queue is there; blocks. Nothing is received before it is asked for.

        Raises:
            QueueError: it is missing, forbidden, or was not to be reached for a minute.
        """
        info = self._queue.check()
        if not info.counts_attempts:
            logger.warning(
                "%s does not count deliveries, so tasks that fail are retried without limit: "
                "`cloud_tasks load_queue` makes queues that do",
                self._queue,
            )

    def receive(self, n: int) -> Batch:
        """Return up to *n* tasks; blocks until there is one, or there will be none.

        Raises:
            QueueError: receiving failed for good.
        """
        with self._changed:
            self._begin()
            while self._draining or not self._stock:
                if self._failure is not None:
                    raise self._failure
                if self._draining or self._stock.left <= 0 or self._stock.is_idle():
                    return Batch(ended=True)
                self._changed.wait(_LOOK)
            items, lost = self._stock.take(n, self._leases.is_lost)
            self._leases.drop(lost)
            self._changed.notify_all()
        return Batch(
            tuple(item for item in items if isinstance(item, Delivery)),
            tuple(item for item in items if isinstance(item, Malformed)),
        )

    def _begin(self) -> None:
        if self._begun or self._draining:
            return
        self._begun = True
        self._stock.busy(until=self._clock.monotonic())
        self._leases.start()
        self._receiver.start()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Delete the messages of *deliveries*; blocks, for as long as the leases last."""
        with self._dropped(deliveries) as leases:
            self._settler.ack(leases)

    def release(self, deliveries: Sequence[Delivery], *, delay: float = 0.0) -> None:
        """Give *deliveries* back; blocks, for as long as the leases last."""
        # While a task of ours waits for its next try, there is something to do.
        with self._dropped(deliveries, busy_for=delay) as leases:
            self._settler.release(leases, delay=delay)

    def dead_letter(self, items: Sequence[Delivery | Malformed]) -> None:
        """Move the messages of *items* to the queue for what was given up; blocks."""
        with self._dropped(items) as leases:
            self._settler.give_up(leases)

    @contextlib.contextmanager
    def _dropped(
        self, items: Sequence[Delivery | Malformed], *, busy_for: float = 0.0
    ) -> Iterator[list[Lease]]:
        """Hold *items* no longer; gives the leases that were still ours, to settle them."""
        leases: list[Lease] = [item.receipt for item in items]
        with self._changed:
            self._settling += 1
            for lease in leases:
                self._stock.ended(lease)
            self._changed.notify_all()
        try:
            ours = self._leases.drop(leases)
            self._leases.await_extension(ours)
            yield ours
        finally:
            with self._changed:
                self._settling -= 1
                for lease in leases:
                    self._stock.gone(lease)
                self._stock.busy(until=self._clock.monotonic() + busy_for)
                self._changed.notify_all()

    def task_ended(self, delivery: Delivery) -> None:
        """Make room for another task; this one's lease is kept until it is settled."""
        with self._changed:
            self._stock.ended(delivery.receipt)
            if self._stock.room():
                self._changed.notify_all()

    def set_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Hold *deliveries* until ``close``."""
        with self._changed:
            for delivery in deliveries:
                self._stock.gone(delivery.receipt)
            self._stock.left += len(deliveries)
            self._changed.notify_all()

    def has_lost(self, delivery: Delivery) -> bool:
        """Tell whether *delivery* isn't ours any more."""
        lease: Lease = delivery.receipt
        return self._leases.is_lost(lease)

    def drain(self, *, now: bool = False) -> None:
        """Receive nothing more; what waits here goes back when the request under way is over."""
        with self._changed:
            self._draining = True
            self._hurry = self._hurry or now
            self._changed.notify_all()
        self._stop.set()
        if now:
            self._settler.hurry()

    def close(self) -> None:
        """Give everything back and let go of the connections; blocks for the last requests."""
        with self._changed:
            already, self._closed = self._closed, True
        if already:
            return
        self.drain()
        self._await(lambda: not self._receiver.is_alive())
        self._settler.hurry()
        # What another thread is giving back goes by the connections that are closed below.
        self._await(lambda: not self._settling)
        self._leases.stop()
        self._settler.release(self._leases.drop(self._leases.held()))
        logger.debug("requests to %s: %s", self._queue, dict(self._queue.requests))
        self._queue.close()
        self._settler.close()

    def _await(self, condition: Callable[[], bool]) -> None:
        """Block until *condition* holds, but not for long, and less if there is a hurry."""
        began = time.monotonic()
        with self._changed:
            while not condition():
                patience = PATIENCE_IN_HASTE if self._hurry else PATIENCE
                left = began + patience - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, _LOOK))

    # -- the thread that receives

    def _receive_all(self) -> None:
        try:
            wait = _FIRST_WAIT
            while (n := self._wanted()) is not None:
                got = self._receive_some(n, wait)
                wait = _FIRST_WAIT if got else min(2 * wait, _LONGEST_WAIT)
        except SourceError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("receiving from %s failed", self._queue)
            self._fail(SourceError(f"receiving from {self._queue} failed: {error!r}"))
        self._give_back_ready()

    def _wanted(self) -> int | None:
        """Block until more tasks are wanted; return how many, None: no more at all."""
        with self._changed:
            while not (self._draining or self._stock.is_idle()):
                if room := self._stock.room():
                    return room
                self._changed.wait()
        return None

    def _receive_some(self, n: int, wait: float) -> int:
        # What comes at the last moment shall have most of its lease before it.
        wait = min(wait, self._lease / 4, self._queue.limits.longest_wait, self._idle)
        asked = asked_boot = 0.0

        def note_time() -> None:
            nonlocal asked, asked_boot
            asked, asked_boot = self._clock.monotonic(), self._clock.boot()

        messages = self._queue.receive(n, wait=wait, lease=self._lease, on_try=note_time)
        self._accept(messages, asked, asked_boot)
        if not messages:
            # Some providers answer at once that there is nothing.
            took = self._clock.monotonic() - asked
            if took < wait / 4:
                self._stop.wait(min(wait - took, 1.0))
        return len(messages)

    def _accept(self, messages: Sequence[Message], asked: float, asked_boot: float) -> None:
        # Reading them takes a while, in which nobody needs to wait.
        leases = [self._leases.add(message, asked_boot) for message in messages]
        items = [to_delivery(lease.message, lease) for lease in leases if lease is not None]
        with self._changed:
            if items or not messages:  # else it was all ours already
                self._stock.put(items, asked)
            self._changed.notify_all()

    def _fail(self, error: SourceError) -> None:
        with self._changed:
            if not self._draining:
                self._failure = error
            self._changed.notify_all()

    def _give_back_ready(self) -> None:
        with self._changed:
            ready = self._stock.take_all()
        leases = self._leases.drop(ready)
        self._leases.await_extension(leases)
        self._settler.release(leases, longest=_GIVING_BACK)
