"""Which deliveries are ours, until when, and a thread that keeps them so.

A lease is short and extended at half its time, instead of being as long as a task may run: the
tasks of a machine that dies are back after one lease. Leases are told apart by object, because
a message can be delivered again while its earlier delivery is still under way.
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

logger = logging.getLogger(__name__)

#: Seconds between two looks at the leases, at most.
LONGEST_LOOK = 15.0
#: And at least, however short they are.
_SHORTEST_LOOK = 0.1


@dataclass(eq=False, slots=True)
class Lease:
    """That a delivery is ours.

    Attributes:
        message: the delivery; a later one of the same message takes its place.
        received: when it came, at the earliest.
        deadline: until when it is ours, at the earliest; both by :meth:`Clock.boot`.
        lost: it isn't ours any more, as far as we know.
        runs: its task was given out, and isn't over; such ones decide how many more are wanted.
        pending: it was given out, and isn't settled; such ones keep a worker from being idle.
    """

    message: Message
    received: float
    deadline: float
    lost: bool = False
    runs: bool = False
    pending: bool = False


class Leases:
    """The leases of one worker on one queue. Methods may be called from any thread.

    Args:
        queue: extends; may block.
        seconds: that each extension is good for.
        clock: its ``boot`` counts.
    """

    def __init__(self, queue: RetryingQueue, seconds: float, clock: Clock) -> None:
        self._queue = queue
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Condition(threading.Lock())
        self._held: dict[str, Lease] = {}
        #: A request to extend these is under way.
        self._extending: Sequence[Lease] = ()
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="cloud_tasks-leases", daemon=True)

    def start(self) -> None:
        """Begin to extend."""
        self._keeper.start()

    def stop(self) -> None:
        """Extend no more; waits for an extension that is under way."""
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join()

    def add(self, message: Message, asked: float) -> Lease | None:
        """Hold *message*, which came in answer to a request made at *asked*.

        Returns None for another delivery of a message that is held: the provider believes that
        we had let go of it, so it is ours again, and runs once.
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
        """Hold *leases* no longer, and return those that were still ours.

        To be called before they are settled, with :meth:`await_extension` in between: extending
        what was deleted fails noisily, and extending what was given back hides it again.
        """
        ours = []
        now = self._clock.boot()
        with self._lock:
            for lease in leases:
                if self._held.get(lease.message.message_id) is lease:
                    del self._held[lease.message.message_id]
                    lease.lost = lease.lost or lease.deadline <= now
                    if not lease.lost:
                        ours.append(lease)
        return ours

    def await_extension(self, leases: Sequence[Lease]) -> None:
        """Block while some of *leases* are being extended, for as long as they last."""
        if not (self._extending and leases):
            return
        left = min(lease.deadline for lease in leases) - self._clock.boot()
        with self._lock:
            self._lock.wait_for(lambda: set(leases).isdisjoint(self._extending), max(0.0, left))

    def held(self) -> list[Lease]:
        """Return all leases that were neither dropped nor settled, lost ones included."""
        with self._lock:
            return list(self._held.values())

    def is_lost(self, lease: Lease) -> bool:
        """Tell whether *lease* isn't ours any more; doesn't block."""
        return lease.lost or lease.deadline <= self._clock.boot()

    def _keep(self) -> None:
        look = min(LONGEST_LOOK, max(_SHORTEST_LOOK, self._seconds / 4))
        while not self._over.wait(look):
            try:
                self.extend_due()
            except Exception:
                # Without this thread every task that runs long would run twice.
                logger.exception("extending leases failed")

    def extend_due(self) -> None:
        """Extend those with less than half their time left; blocks."""
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
            # Asked again at the next look; whose time has run out is lost by then.
            logger.debug("leases could not be extended: %s", error)
            return
        # What came anew meanwhile has a lease of its own, whatever became of the old one.
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
        # One line for all: after a long stop of this worker it is all that it held.
        names, tasks = f"message {leases[0].message.message_id} isn't", "its task"
        if len(leases) > 1:
            names, tasks = f"{len(leases)} messages aren't", "their tasks"
        logger.warning(
            "%s ours any more (%s): %s will run again, maybe elsewhere", names, reason, tasks
        )
