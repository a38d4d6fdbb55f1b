"""Tasks from a provider's queue: received ahead of need, held by leases, settled in batches.

Whoever runs tasks sees an ordinary source. Behind it one thread receives, with one request under
way, and another one extends leases. How much is received ahead follows from how long tasks take:
as much as the slots use up in three seconds, so long tasks are not hoarded.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Sequence

from cloud_tasks.clock import Clock
from cloud_tasks.errors import SourceError
from cloud_tasks.queues.base import Message
from cloud_tasks.queues.retrying import RetryingQueue
from cloud_tasks.sources.appetite import Appetite
from cloud_tasks.sources.base import Limits, TaskSource
from cloud_tasks.sources.entries import Item
from cloud_tasks.sources.leases import Lease, Leases
from cloud_tasks.sources.messages import to_delivery
from cloud_tasks.sources.settling import Settler
from cloud_tasks.task import Batch, Delivery, Malformed

logger = logging.getLogger(__name__)

#: Seconds that a request waits for messages: at first, and when there were none for long. It
#: can't be taken back without losing what it brings, so a shutdown waits for it.
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 5.0
#: Seconds that `close` waits for that request: its own wait and an answer that is late.
_PATIENCE = _LONGEST_WAIT + 5.0
#: Seconds that giving back what waits here is tried, when a run ends.
_GIVING_BACK = 4.0


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
        appetite: Appetite,
        stop: threading.Event,
        clock: Clock,
    ) -> None:
        limits = queue.limits
        self.limits = Limits(requeues=True, settle=limits.settle)
        self._queue = queue
        self._settler = settler
        self._lease = min(max(lease, limits.min_lease), limits.max_lease)
        self._appetite = appetite
        self._stop = stop
        self._clock = clock
        self._leases = Leases(settler.queue, self._lease, clock)
        self._changed = threading.Condition()
        self._ready: deque[Item] = deque()
        # How many leases are `runs`, and how many `pending`.
        self._running = self._pending = 0
        self._left = math.inf if appetite.most is None else appetite.most
        self._failure: SourceError | None = None
        self._begun = False
        self._draining = False
        self._hurry = False
        self._closed = False
        # When the last thing happened, and when the queue last said that it had nothing.
        self._busy_at = self._empty_at = clock.monotonic()
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
            while self._draining or not self._ready:
                if self._failure is not None:
                    raise self._failure
                if self._draining or self._left <= 0 or self._is_idle():
                    return Batch(ended=True)
                self._changed.wait()
            items = self._take(n)
            self._changed.notify_all()
        return Batch(
            tuple(item for item in items if isinstance(item, Delivery)),
            tuple(item for item in items if isinstance(item, Malformed)),
        )

    def _begin(self) -> None:
        if self._begun or self._draining:
            return
        self._begun = True
        self._busy_at = self._empty_at = self._clock.monotonic()
        self._leases.start()
        self._receiver.start()

    def _take(self, n: int) -> list[Item]:
        items: list[Item] = []
        while self._ready and len(items) < n:
            item = self._ready.popleft()
            if self._leases.is_lost(item.receipt):
                self._leases.drop([item.receipt])
                continue
            items.append(item)
            item.receipt.runs = item.receipt.pending = True
        self._running += len(items)
        self._pending += len(items)
        self._left -= sum(isinstance(item, Delivery) for item in items)
        return items

    def _is_idle(self) -> bool:
        idle = self._appetite.idle
        quiet = not self._pending and not self._ready
        return idle is not None and quiet and self._empty_at - self._busy_at >= idle

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Delete the messages of *deliveries*; blocks, for as long as the leases last."""
        self._settler.ack(self._drop(deliveries))

    def release(self, deliveries: Sequence[Delivery], *, delay: float = 0.0) -> None:
        """Give *deliveries* back; blocks, for as long as the leases last."""
        self._settler.release(self._drop(deliveries), delay=delay)
        with self._changed:
            self._busy_at = self._clock.monotonic()

    def dead_letter(self, items: Sequence[Delivery | Malformed]) -> None:
        """Move the messages of *items* to the queue for what was given up; blocks."""
        self._settler.give_up(self._drop(items))

    def _drop(self, items: Sequence[Delivery | Malformed]) -> list[Lease]:
        """Hold *items* no longer; return the leases that were still ours."""
        ours = self._leases.drop(item.receipt for item in items)
        with self._changed:
            for item in items:
                self._no_longer(item.receipt)
            self._busy_at = self._clock.monotonic()
            self._changed.notify_all()
        return ours

    def _no_longer(self, lease: Lease) -> None:
        self._running -= lease.runs
        self._pending -= lease.pending
        lease.runs = lease.pending = False

    def task_ended(self, delivery: Delivery) -> None:
        """Make room for another task; this one's lease is kept until it is settled."""
        lease: Lease = delivery.receipt
        with self._changed:
            self._running -= lease.runs
            lease.runs = False
            if self._room():
                self._changed.notify_all()

    def set_aside(self, deliveries: Sequence[Delivery]) -> None:
        """Hold *deliveries* until ``close``."""
        with self._changed:
            for delivery in deliveries:
                self._no_longer(delivery.receipt)
            self._left += len(deliveries)
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
        if self._receiver.is_alive():
            self._receiver.join(1.0 if self._hurry else _PATIENCE)
        self._settler.hurry()
        self._leases.stop()
        self._settler.release(self._leases.drop(self._leases.held()))
        logger.debug("requests to %s: %s", self._queue, dict(self._queue.requests))
        self._queue.close()
        self._settler.close()

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
            while not (self._draining or self._is_idle()):
                if room := self._room():
                    return room
                self._changed.wait()
        return None

    def _room(self) -> int:
        """Return how many tasks to ask for; 0 where it isn't worth a request yet."""
        most = self._queue.limits.receive
        held = self._running + len(self._ready)
        room = min(self._appetite.capacity() - held, self._left - len(self._ready))
        worth_it = room >= min(self._appetite.enough_room(most), max(self._left, 1))
        return int(min(room, most)) if worth_it else 0

    def _receive_some(self, n: int, wait: float) -> int:
        idle = self._appetite.idle
        # What comes at the last moment shall have most of its lease before it.
        wait = min(wait, self._lease / 4, self._queue.limits.longest_wait, idle or math.inf)
        asked, asked_boot = self._clock.monotonic(), self._clock.boot()
        messages = self._queue.receive(n, wait=wait, lease=self._lease)
        self._accept(messages, asked, asked_boot)
        if not messages:
            # Some providers answer at once that there is nothing.
            took = self._clock.monotonic() - asked
            if took < wait / 4:
                self._stop.wait(min(wait - took, 1.0))
        return len(messages)

    def _accept(self, messages: Sequence[Message], asked: float, asked_boot: float) -> None:
        with self._changed:
            now = self._clock.monotonic()
            if not messages and asked >= self._busy_at:
                # An older request need not see what was released meanwhile.
                self._empty_at = now
            for message in messages:
                lease = self._leases.add(message, asked_boot)
                if lease is not None:
                    self._ready.append(to_delivery(message, lease))
                    self._busy_at = now
            self._changed.notify_all()

    def _fail(self, error: SourceError) -> None:
        with self._changed:
            if not self._draining:
                self._failure = error
            self._changed.notify_all()

    def _give_back_ready(self) -> None:
        with self._changed:
            ready = [item.receipt for item in self._ready]
            self._ready.clear()
        self._settler.release(self._leases.drop(ready), longest=_GIVING_BACK)
