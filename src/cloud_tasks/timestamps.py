"""Write and read timestamps: ISO 8601 in UTC, as events and messages carry them."""

from __future__ import annotations

import functools
from datetime import datetime, timezone
from typing import Any


def timestamp(wall_seconds: float) -> str:
    """Render *wall_seconds* since the epoch as ISO 8601, UTC, microseconds, ``+00:00``."""
    micros = round(wall_seconds * 1e6)
    return f"{_whole_second(micros // 1_000_000)}.{micros % 1_000_000:06d}+00:00"


@functools.lru_cache(maxsize=16)
def _whole_second(second: int) -> str:
    # Every event has two timestamps, and most fall into the same second or two.
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def wall_seconds(text: str) -> float:
    """Read ISO 8601, as :func:`timestamp` and others write it; without an offset it is UTC.

    Raises:
        ValueError, OverflowError: it is no time, or none that this machine can count.
    """
    # Python 3.10 does not know the Z.
    moment = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def instant(text: Any) -> float | None:
    """Return a timestamp in seconds since the epoch; None where it is none. Without a zone: UTC."""
    if not isinstance(text, str):
        return None
    try:
        return wall_seconds(text)
    except (ValueError, OverflowError):
        return None


#: Instants that can be meant, in seconds since the epoch: the years 2000 to 2200. A clock that was
#: never set would stretch the axis over half a century.
_FIRST, _LAST = 9.466e8, 7.26e9


#: Seconds that are remembered as numbers; then anew.
_REMEMBERED = 4096


#: Lengths of ``2026-11-21T19:07:44`` and of ``2026-11-21T19:07:44.123456``.
_SECOND, _MICROSECOND = 19, 26


class Instants:
    """Reads timestamps, fast where many fall into the same second."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def read(self, text: object) -> float | None:
        """Return *text* in seconds since the epoch; None: it is no timestamp that can be meant.

        Without an offset it is UTC.
        """
        if type(text) is not str:
            return None
        try:
            if text[_MICROSECOND:] == "+00:00" and text[_SECOND] == ".":
                found = self._whole(text[:_SECOND]) + float(text[_SECOND:_MICROSECOND])
            else:
                found = wall_seconds(text)
        except (ValueError, OverflowError):
            return None
        return found if _FIRST < found < _LAST else None

    def _whole(self, text: str) -> float:
        second = self._seconds.get(text)
        if second is None:
            if len(self._seconds) >= _REMEMBERED:
                self._seconds.clear()
            second = self._seconds[text] = wall_seconds(text)
        return second
