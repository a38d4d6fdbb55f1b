"""When the loop of a pool has to look again."""

from __future__ import annotations

import math


class Agenda:
    """A lower bound of when something is due next; cheaper than a heap of every deadline.

    A heap would keep an entry for every task of the last ``max_runtime`` seconds.
    """

    def __init__(self) -> None:
        self.next = math.inf

    def note(self, when: float) -> None:
        """Something is due at *when*, monotonic."""
        if when < self.next:
            self.next = when
