"""Write and read timestamps: ISO 8601 in UTC, as events and messages carry them.

Three functions read them. :func:`parse_timestamp` raises for text that is none;
:func:`timestamp_or_none` takes any value of a log; :func:`plausible_timestamp` is fast for
millions of them and refuses times that no clock can have meant.
"""

from __future__ import annotations

import functools
from datetime import datetime, timezone

#: Bounds of a plausible time, in seconds since the epoch: the years 2000 to 2200. A clock that was
#: never set would stretch the time axis of a report over half a century.
_EARLIEST, _LATEST = 9.466e8, 7.26e9
#: Seconds whose text ``plausible_timestamp`` remembers.
_MAX_CACHED = 4096
#: Lengths of ``2026-11-21T19:07:44`` and of ``2026-11-21T19:07:44.123456``.
_SECOND, _MICROSECOND = 19, 26


def timestamp(wall_seconds: float) -> str:
    """Format *wall_seconds* since the epoch as ISO 8601, UTC, microseconds, ``+00:00``."""
    micros = round(wall_seconds * 1e6)
    return f"{_whole_second(micros // 1_000_000)}.{micros % 1_000_000:06d}+00:00"


@functools.lru_cache(maxsize=16)
def _whole_second(second: int) -> str:
    # Every event has two timestamps, and most fall into the same second or two.
    return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def parse_timestamp(text: str) -> float:
    """Return the seconds since the epoch of ISO 8601 *text*; without an offset it is UTC.

    Raises:
        ValueError, OverflowError: it is no time, or none that this machine can count.
    """
    # Python 3.10 does not know the Z.
    moment = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def timestamp_or_none(value: object) -> float | None:
    """Return the seconds since the epoch of *value*; None if it is no timestamp."""
    if not isinstance(value, str):
        return None
    try:
        return parse_timestamp(value)
    except (ValueError, OverflowError):
        return None


def plausible_timestamp(value: object) -> float | None:
    """Return the seconds since the epoch of *value*; None if it is no time from 2000 to 2200.

    Without an offset it is UTC. Fast where many share a second.
    """
    if type(value) is not str:
        return None
    try:
        if value[_MICROSECOND:] == "+00:00" and value[_SECOND] == ".":
            found = _parse_second(value[:_SECOND]) + float(value[_SECOND:_MICROSECOND])
        else:
            found = parse_timestamp(value)
    except (ValueError, OverflowError):
        return None
    return found if _EARLIEST < found < _LATEST else None


_parse_second = functools.lru_cache(maxsize=_MAX_CACHED)(parse_timestamp)
