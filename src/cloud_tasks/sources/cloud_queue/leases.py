"""Keep the leases of a worker: which deliveries it holds, until when, and extend them in a thread.

A lease is short and extended after half its time, instead of lasting as long as a task may run, so
that the tasks of a machine that dies are back after one lease. Leases are compared by identity,
because a message can be delivered again while its earlier delivery is still held.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloud_tasks.clock import Clock
from cloud_tasks.errors import QueueError
from cloud_tasks.queues.base import Message
from cloud_tasks.queues.retrying import RetryingQueue
from cloud_tasks.system.shortage import start_thread

logger = logging.getLogger(__name__)

#: Longest and shortest time between two checks for leases to extend, in seconds.
MAX_CHECK_INTERVAL = 15.0
_MIN_CHECK_INTERVAL = 0.1


@dataclass(eq=False, slots=True)
class Lease:
    """The lease of one delivery. Times are by :meth:`Clock.boot`, in seconds.

    Attributes:
        message: the delivery; replaced by a later delivery of the same message.
        received: the earliest time at which it can have come.
        deadline: the earliest time at which the lease can end.
        lost: the lease is over, as far as we know.
        running: its task was delivered and is not over; the more of these, the less is prefetched.
        pending: its task was delivered and is not settled, so the worker is not idle.
    """

    message: Message
    received: float
    deadline: float
    lost: bool = False
    running: bool = False
    pending: bool = False


class Leases:
    """The leases of one worker on one queue. Methods may be called from any thread.

    A lease lasts *seconds* by ``clock.boot``, which goes on while the machine sleeps, and is
    extended by as much.
    """

    def __init__(self, queue: RetryingQueue, seconds: float, clock: Clock) -> None:
        self._queue = queue
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Condition(threading.Lock())
        self._held: dict[str, Lease] = {}
        #: Leases in the extension request that is under way.
        self._extending: Sequence[Lease] = ()
        self._stopped = threading.Event()
        self._extender = threading.Thread(
            target=self._extend_until_stopped, name="cloud_tasks-leases", daemon=True
        )

    def start(self) -> None:
        """Start the thread that extends leases."""
        start_thread(self._extender)

    def stop(self) -> None:
        """Stop extending; blocks while an extension is under way."""
        self._stopped.set()
        if self._extender.is_alive():
            self._extender.join()

    def add(self, message: Message, asked: float) -> Lease | None:
        """Hold *message*, which came in answer to a request made at *asked*.

        Returns None for another delivery of a message that is held: for the provider the earlier
        lease was over; the new one takes its place, and the task runs once.
        """
        with self._lock:
            lease = self._held.get(message.message_id)
            if lease is None:
                lease = Lease(message, asked, asked + self._seconds)
                self._held[message.message_id] = lease
                return lease
            if lease.lost:
                logger.info("message %s is ours again", message.message_id)
            lease.message, lease.lost = message, False
            lease.received, lease.deadline = asked, asked + self._seconds
        return None

    def drop(self, leases: Iterable[Lease]) -> list[Lease]:
        """Stop holding *leases*; return those that were not lost.

        To be called before they are settled, with :meth:`await_extension` in between: extending
        a deleted message is an error, and extending a released one hides it again.
        """
        valid = []
        now = self._clock.boot()
        with self._lock:
            for lease in leases:
                if self._held.get(lease.message.message_id) is lease:
                    del self._held[lease.message.message_id]
                    lease.lost = lease.lost or lease.deadline <= now
                    if not lease.lost:
                        valid.append(lease)
        return valid

    def await_extension(self, leases: Sequence[Lease]) -> None:
        """Block while any of *leases* is being extended, but not longer than they last."""
        if not (self._extending and leases):
            return
        left = min(lease.deadline for lease in leases) - self._clock.boot()
        with self._lock:
            self._lock.wait_for(lambda: set(leases).isdisjoint(self._extending), max(0.0, left))

    def held(self) -> list[Lease]:
        """Return all leases that were not dropped, including lost ones."""
        with self._lock:
            return list(self._held.values())

    def is_lost(self, lease: Lease) -> bool:
        """Tell whether *lease* is over; doesn't block."""
        return lease.lost or lease.deadline <= self._clock.boot()

    def _extend_until_stopped(self) -> None:
        interval = min(MAX_CHECK_INTERVAL, max(_MIN_CHECK_INTERVAL, self._seconds / 4))
        while not self._stopped.wait(interval):
            try:
                self.extend_due()
            except BaseException:
                # The thread must go on: without it every long task would run twice.
                logger.exception("extending leases failed")

    def extend_due(self) -> None:
        """Extend the leases with less than half their time left; blocks for the request."""
        now = self._clock.boot()
        with self._lock:
            due = [
                lease
                for lease in self._held.values()
                if not lease.lost and lease.deadline - now < self._seconds / 2
            ]
            self._extending = alive = [lease for lease in due if lease.deadline > now]
        self._lose([lease for lease in due if lease.deadline <= now], "it was not extended in time")
        try:
            if alive:
                self._extend(alive, now)
        finally:
            with self._lock:
                self._extending = ()
                self._lock.notify_all()

    def _extend(self, leases: Sequence[Lease], now: float) -> None:
        messages = [lease.message for lease in leases]
        budget = min(lease.deadline for lease in leases) - now
        asked = self._clock.boot()
        try:
            failures = self._queue.extend(messages, self._seconds, budget=budget)
        except QueueError as error:
            # Tried again at the next check, if the lease lasts until then.
            logger.debug("leases could not be extended: %s", error)
            return
        # A message that was delivered again meanwhile has a new lease, so this answer, which is
        # about the old one, doesn't count for it.
        same = {i for i, lease in enumerate(leases) if lease.message is messages[i]}
        longest = self._queue.limits.longest_hold
        for index in same - {failure.index for failure in failures}:
            lease = leases[index]
            lease.deadline = min(asked + self._seconds, lease.received + longest)
        gone = [failure for failure in failures if failure.lost and failure.index in same]
        if gone:
            self._lose([leases[failure.index] for failure in gone], gone[0].reason)

    def _lose(self, leases: Sequence[Lease], reason: str) -> None:
        for lease in leases:
            lease.lost = True
        if not leases:
            return
        # One line for all: after a long pause of this machine all leases are lost at once.
        names, tasks = f"message {leases[0].message.message_id} isn't", "its task"
        if len(leases) > 1:
            names, tasks = f"{len(leases)} messages aren't", "their tasks"
        logger.warning(
            "%s ours any more (%s): %s will run again, maybe elsewhere", names, reason, tasks
        )
