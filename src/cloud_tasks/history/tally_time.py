"""Time in a fixed number of buckets, whose width doubles when the time outgrows them."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from operator import add, or_
from typing import Any

from cloud_tasks.clock import wall_seconds

#: On each axis.
BUCKETS = 1024
#: Seconds a bucket, at first.
_FINEST = 2.0**-6
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


class TimeAxis:
    """The buckets, and all tracks that are counted by them.

    Attributes:
        origin: where the first bucket begins, in seconds since the epoch; None before the first
            instant.
        width: seconds that a bucket is long.
    """

    def __init__(self) -> None:
        self.origin: float | None = None
        self.width = _FINEST
        self._latest = 0.0
        self._tracks: list[tuple[array[Any], Callable[[Any, Any], Any]]] = []

    def sums(self, typecode: str = "d") -> array[Any]:
        """Return a new track whose buckets are added up where they are joined."""
        return self._track(typecode, add)

    def flags(self) -> array[int]:
        """Return a new track of flags."""
        return self._track("B", or_)

    def forget(self, track: array[Any]) -> None:
        """Keep *track* up to date no longer."""
        self._tracks = [kept for kept in self._tracks if kept[0] is not track]

    @property
    def used(self) -> int:
        """How many buckets, from the first, have something in them."""
        return 0 if self.origin is None else int((self._latest - self.origin) / self.width) + 1

    def cover(self, start: float, end: float) -> None:
        """Make room for all from *start* to *end*; what is in other buckets may move."""
        if self.origin is None:
            self.origin = self._latest = start
        if start < self.origin:
            self._reach_back(start)
        if end > self._latest:
            while end >= self.origin + self.width * BUCKETS:
                self._fold()
            self._latest = end

    def index(self, instant: float) -> int:
        """Return the bucket of *instant*, which was covered."""
        assert self.origin is not None
        bucket = int((instant - self.origin) / self.width)
        return bucket if bucket < BUCKETS else BUCKETS - 1

    def _track(self, typecode: str, join: Callable[[Any, Any], Any]) -> array[Any]:
        track = array(typecode, [0]) * BUCKETS
        self._tracks.append((track, join))
        return track

    def _fold(self) -> None:
        """Join two buckets each."""
        self.width *= 2
        for track, join in self._tracks:
            empty = array(track.typecode, [0]) * (BUCKETS // 2)
            track[:] = array(track.typecode, map(join, track[0::2], track[1::2])) + empty

    def _reach_back(self, instant: float) -> None:
        assert self.origin is not None
        while math.ceil((self.origin - instant) / self.width) + self.used > BUCKETS:
            self._fold()
        shift = math.ceil((self.origin - instant) / self.width)
        self.origin -= shift * self.width
        for track, _ in self._tracks:
            track[:] = array(track.typecode, [0]) * shift + track[: BUCKETS - shift]
