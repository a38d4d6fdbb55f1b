"""Read the clocks for durations, leases and timestamps.

Durations and limits use :meth:`Clock.monotonic` only, so a wall clock that jumps by hours
moves nothing but the timestamps.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import queue


T = TypeVar("T")

#: Seconds; a shorter timeout does not wait at all.
_SHORTEST_WAIT = 0.001


class Clock:
    """The machine's clocks; tests replace it by a subclass."""

    def monotonic(self) -> float:
        """Return seconds since some fixed point; never goes back."""
        return time.monotonic()

    def boot(self) -> float:
        """Return seconds since some fixed point, including those in which the machine slept.

        For what a provider counts, such as a lease: it goes on while this machine sleeps.
        """
        number = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic() if number is None else time.clock_gettime(number)

    def wall(self) -> float:
        """Return seconds since the epoch by this machine's wall clock, which may jump."""
        return time.time()


def next_of(inbox: queue.SimpleQueue[T], timeout: float | None) -> T:
    """Return the next item of *inbox*; blocks for up to *timeout* seconds, None without limit.

    Raises:
        queue.Empty: no item came in time.
    """
    # Python 3.10 waits for ever if the timeout passes between its two readings of the clock.
    if timeout is not None and timeout < _SHORTEST_WAIT:
        return inbox.get_nowait()
    return inbox.get(timeout=timeout)
