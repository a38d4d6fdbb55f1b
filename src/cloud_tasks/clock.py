"""The clocks: for durations, for promises to others, and for timestamps.

Durations and limits use :meth:`Clock.monotonic` only, so a wall clock that jumps by hours
moves nothing but the timestamps.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import queue


T = TypeVar("T")

#: Seconds; nobody waits for less.
_SHORTEST_WAIT = 0.001


class Clock:
    """The machine's clocks; tests put a subclass in its place."""

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        return time.monotonic()

    def boot(self) -> float:
        """Seconds since some fixed point, those included in which the machine was asleep.

        What others count, such as a lease, goes on while this machine sleeps.
        """
        number = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic() if number is None else time.clock_gettime(number)

    def wall(self) -> float:
        """Seconds since the epoch, UTC, as the machine believes it to be."""
        return time.time()


def next_of(inbox: queue.SimpleQueue[T], timeout: float | None) -> T:
    """Return the next item of *inbox*; blocks for up to *timeout* seconds, or for ever if None.

    Raises:
        queue.Empty: none came in time.
    """
    # Python 3.10 waits for ever if the time is over when it looks at the clock for the second
    # time, a moment after the first.
    if timeout is not None and timeout < _SHORTEST_WAIT:
        return inbox.get_nowait()
    return inbox.get(timeout=timeout)
