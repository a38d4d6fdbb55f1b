"""Decide how many messages to receive ahead of need, and hold the tasks that wait.

    queue ──put()──► ready ──take()──► running ──ended()──► settling ──gone()──►
                     └────── held: at most policy.capacity() ──────┘
                                       └───────── pending: not yet settled ───┘

    room() = policy.capacity() - ready - running: the size of the next request, once it is worth one

The buffer counts and nothing else: it makes no request and starts no thread. The capacity follows
from how long tasks take: as many as the slots use up in three seconds, so that a worker does not
keep long tasks from others.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_tasks.clock import Clock
from cloud_tasks.sources.cloud_queue.leases import Lease
from cloud_tasks.sources.entries import Item
from cloud_tasks.task import Delivery

#: Seconds of work that are held ready.
_HORIZON = 3.0
#: Most tasks per slot that are held ready.
_MAX_AHEAD = 256
#: Bytes of waiting tasks from which on no more are asked for.
_MAX_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class PrefetchPolicy:
    """How many tasks of a queue one worker holds.

    Attributes:
        slots: tasks that run at once.
        mean_time: returns the average seconds of a task, None before the first has ended.
        max_tasks: most tasks to deliver in all; None means no limit.
        idle: the source ends when it has been idle for this many seconds: no message came, and no
            task was held; None means never.
    """

    slots: int
    mean_time: Callable[[], float | None]
    max_tasks: int | None = None
    idle: float | None = None

    def capacity(self) -> int:
        """Return how many tasks to hold, those that run included."""
        mean = self.mean_time()
        if mean is None:
            return self.slots
        ahead = math.floor(self.slots * _HORIZON / max(mean, 1e-6))
        return self.slots + min(ahead, self.slots * _MAX_AHEAD)

    def min_request(self, max_request: int) -> int:
        """Return how many tasks must be missing before a request for more is worth it.

        A full request of *max_request*, but at most half of what is held ahead.
        """
        return min(max_request, max(1, (self.capacity() - self.slots) // 2))


class PrefetchBuffer:
    """The tasks that wait, and the number of those that were delivered.

    Not thread-safe: callers hold the lock of the source. One request returns up to *max_request*
    messages.

    Attributes:
        left: number of tasks that may still be delivered.
    """

    def __init__(self, policy: PrefetchPolicy, max_request: int, clock: Clock) -> None:
        self._policy = policy
        self._max_request = max_request
        self._clock = clock
        self._ready: deque[Item] = deque()
        self._ready_bytes = 0
        # Number of leases whose `running` is set, and whose `pending` is set.
        self._running = self._pending = 0
        self.left = math.inf if policy.max_tasks is None else policy.max_tasks
        # Until when there was something to do, and when the queue last had no message.
        self._busy_until = self._empty_at = clock.monotonic()

    def __len__(self) -> int:
        return len(self._ready)

    def busy(self, *, until: float) -> None:
        """Record that there is something to do *until* a time, by the clock's ``monotonic``."""
        self._busy_until = max(self._busy_until, until)

    def is_idle(self) -> bool:
        """Tell whether no message came and no task was held for the policy's ``idle`` seconds."""
        idle = self._policy.idle
        quiet = not self._pending and not self._ready
        return idle is not None and quiet and self._empty_at - self._busy_until >= idle

    def room(self) -> int:
        """Return how many tasks to ask for; 0 if that isn't worth a request yet."""
        held = self._running + len(self._ready)
        room = min(self._policy.capacity() - held, self.left - len(self._ready))
        worth_it = room >= min(self._policy.min_request(self._max_request), max(self.left, 1))
        too_large = self._ready_bytes >= _MAX_BYTES
        return int(min(room, self._max_request)) if worth_it and not too_large else 0

    def put(self, items: Sequence[Item], asked: float) -> None:
        """Add the tasks that came in answer to a request made at *asked*."""
        if items:
            self._ready += items
            self._ready_bytes += sum(map(_size, items))
            self.busy(until=self._clock.monotonic())
        elif asked >= self._busy_until:
            # An older request may have missed a message that was released meanwhile.
            self._empty_at = self._clock.monotonic()

    def take(self, n: int, is_lost: Callable[[Lease], bool]) -> tuple[list[Item], list[Lease]]:
        """Return up to *n* tasks to deliver, and the leases that were lost while they waited."""
        items: list[Item] = []
        lost: list[Lease] = []
        while self._ready and len(items) < n:
            item = self._ready.popleft()
            self._ready_bytes -= _size(item)
            lease: Lease = item.receipt
            if is_lost(lease):
                lost.append(lease)
                continue
            lease.running = lease.pending = True
            items.append(item)
        self._running += len(items)
        self._pending += len(items)
        self.left -= sum(isinstance(item, Delivery) for item in items)
        return items, lost

    def take_all(self) -> list[Lease]:
        """Remove all tasks that wait; return their leases, to be given back."""
        leases = [item.receipt for item in self._ready]
        self._ready.clear()
        self._ready_bytes = 0
        return leases

    def ended(self, lease: Lease) -> None:
        """Count the task of *lease* as running no longer. Idempotent."""
        self._running -= lease.running
        lease.running = False

    def gone(self, lease: Lease) -> None:
        """Count the task of *lease* as neither running nor pending. Idempotent."""
        self.ended(lease)
        self._pending -= lease.pending
        lease.pending = False


def _size(item: Item) -> int:
    lease: Lease = item.receipt
    return len(lease.message.body)
