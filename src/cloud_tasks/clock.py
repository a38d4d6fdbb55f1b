"""The clocks: for durations, for promises to others, and for timestamps.

Durations and limits use :meth:`Clock.monotonic` only, so a wall clock that jumps by hours
moves nothing but the timestamps.
"""

from __future__ import annotations

import functools
import time
from datetime import datetime, timezone


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


def timestamp(wall_seconds: float) -> str:
    """Render *wall_seconds* since the epoch as ISO 8601, UTC, microseconds, ``+00:00``."""
    second, fraction = divmod(round(wall_seconds * 1e6), 1_000_000)
    return f"{_whole_second(second)}.{fraction:06d}+00:00"


@functools.lru_cache(maxsize=16)
def _whole_second(second: int) -> str:
    # Every event has two timestamps, and most fall into the same second or two.
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
