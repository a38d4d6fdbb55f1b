"""How much of a queue one worker takes for itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

#: Tasks for so many seconds are held ready.
_HORIZON = 3.0
#: And never more than this many for each slot.
_MOST_AHEAD = 256


@dataclass(frozen=True, slots=True)
class Appetite:
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
