"""What a worker has of a queue, and how much more it wants: counting, and nothing else."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_tasks.clock import Clock
from cloud_tasks.sources.cloud_queue.leases import Lease
from cloud_tasks.sources.entries import Item
from cloud_tasks.task import Delivery

#: No more is asked for while tasks of so many bytes wait.
_MOST_BYTES = 16 * 2**20


class PrefetchBuffer:
    """The tasks that wait, and the number of those that were given out.

    Whoever calls a method holds the lock that belongs to it.

    Args:
        appetite: how much to hold.
        most: in one request.
        clock: its ``monotonic`` counts.

    Attributes:
        left: tasks that may still be given out.
    """

    def __init__(self, appetite: PrefetchPolicy, most: int, clock: Clock) -> None:
        self._appetite = appetite
        self._most = most
        self._clock = clock
        self._ready: deque[Item] = deque()
        self._ready_bytes = 0
        # How many leases are `runs`, and how many `pending`.
        self._running = self._pending = 0
        self.left = math.inf if appetite.most is None else appetite.most
        # Until when there was something to do, and when the queue last said that it had nothing.
        self._busy_at = self._empty_at = clock.monotonic()

    def __len__(self) -> int:
        return len(self._ready)

    def busy(self, *, until: float) -> None:
        """Note that there is something to do, now or *until* a time to come."""
        self._busy_at = max(self._busy_at, until)

    def is_idle(self) -> bool:
        """Tell whether nothing came, and nothing was left to do, for long enough."""
        idle = self._appetite.idle
        quiet = not self._pending and not self._ready
        return idle is not None and quiet and self._empty_at - self._busy_at >= idle

    def room(self) -> int:
        """Return how many tasks to ask for; 0 where it isn't worth a request yet."""
        held = self._running + len(self._ready)
        room = min(self._appetite.capacity() - held, self.left - len(self._ready))
        worth_it = room >= min(self._appetite.enough_room(self._most), max(self.left, 1))
        too_large = self._ready_bytes >= _MOST_BYTES
        return int(min(room, self._most)) if worth_it and not too_large else 0

    def put(self, items: Sequence[Item], asked: float) -> None:
        """Take in what came in answer to a request that was made at *asked*."""
        if items:
            self._ready += items
            self._ready_bytes += sum(map(_size, items))
            self.busy(until=self._clock.monotonic())
        elif asked >= self._busy_at:
            # An older request need not see what was released meanwhile.
            self._empty_at = self._clock.monotonic()

    def take(self, n: int, is_lost: Callable[[Lease], bool]) -> tuple[list[Item], list[Lease]]:
        """Give out up to *n* of those that wait; return them, and leases lost while waiting."""
        items: list[Item] = []
        lost: list[Lease] = []
        while self._ready and len(items) < n:
            item = self._ready.popleft()
            self._ready_bytes -= _size(item)
            lease: Lease = item.receipt
            if is_lost(lease):
                lost.append(lease)
                continue
            lease.runs = lease.pending = True
            items.append(item)
        self._running += len(items)
        self._pending += len(items)
        self.left -= sum(isinstance(item, Delivery) for item in items)
        return items, lost

    def take_all(self) -> list[Lease]:
        """Return the leases of all that wait, which nobody will run."""
        leases = [item.receipt for item in self._ready]
        self._ready.clear()
        self._ready_bytes = 0
        return leases

    def ended(self, lease: Lease) -> None:
        """Make room for another one."""
        self._running -= lease.runs
        lease.runs = False

    def gone(self, lease: Lease) -> None:
        """Count it no longer."""
        self.ended(lease)
        self._pending -= lease.pending
        lease.pending = False


def _size(item: Item) -> int:
    lease: Lease = item.receipt
    return len(lease.message.body)


# MERGED: How much of a queue one worker takes for itself.

#: Tasks for so many seconds are held ready.
_HORIZON = 3.0
#: And never more than this many for each slot.
_MOST_AHEAD = 256


@dataclass(frozen=True, slots=True)
class PrefetchPolicy:
    """How much of a queue one worker wants.

    Attributes:
        slots: tasks that run at once.
        mean_time: returns the seconds that a task takes on average, None before the first.
        most: in all; None: no limit.
        idle: the source ends when nothing came and nothing was held for so many seconds; None:
            never.
    """

    slots: int
    mean_time: Callable[[], float | None]
    most: int | None = None
    idle: float | None = None

    def capacity(self) -> int:
        """Return how many tasks to hold, those that run included."""
        mean = self.mean_time()
        if mean is None:
            return self.slots
        ahead = math.floor(self.slots * _HORIZON / max(mean, 1e-6))
        return self.slots + min(ahead, self.slots * _MOST_AHEAD)

    def enough_room(self, most: int) -> int:
        """Return how many must be missing until it is worth asking for more.

        In full requests of *most*, but before half of what was ahead is used up.
        """
        return min(most, max(1, (self.capacity() - self.slots) // 2))
