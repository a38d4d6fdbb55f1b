"""The two clocks: one for durations, one for timestamps.

Durations and limits use :meth:`Clock.monotonic` only, so a wall clock that jumps by hours
moves nothing but the timestamps.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone


class Clock:
    """The machine's clocks; tests put a subclass in its place."""

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch, UTC, as the machine believes it to be."""
        return time.time()


def timestamp(wall_seconds: float) -> str:
    """Render *wall_seconds* since the epoch as ISO 8601, UTC, microseconds, ``+00:00``."""
    return datetime.fromtimestamp(wall_seconds, timezone.utc).isoformat(timespec="microseconds")
