"""Divide time into a fixed number of buckets, whose width doubles when they become too few."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from operator import add, or_
from typing import Any

#: Buckets of an axis.
BUCKETS = 1024
#: Seconds a bucket, at the start.
_FINEST = 2.0**-6


class TimeAxis:
    """The buckets, and all tracks: arrays with one item a bucket.

    Attributes:
        origin: start of the first bucket, in seconds since the epoch; None while it is empty.
        width: of a bucket, in seconds.
    """

    def __init__(self) -> None:
        self.origin: float | None = None
        self.width = _FINEST
        self._latest = 0.0
        self._tracks: list[tuple[array[Any], Callable[[Any, Any], Any]]] = []

    def sums(self, typecode: str = "d") -> array[Any]:
        """Return a new track; buckets that are joined are added up."""
        return self._track(typecode, add)

    def flags(self) -> array[int]:
        """Return a new track of flags; buckets that are joined are or-ed."""
        return self._track("B", or_)

    def forget(self, track: array[Any]) -> None:
        """Stop adapting *track* to the axis."""
        self._tracks = [kept for kept in self._tracks if kept[0] is not track]

    @property
    def used(self) -> int:
        """The number of buckets from the first to the last that is covered."""
        return 0 if self.origin is None else int((self._latest - self.origin) / self.width) + 1

    def cover(self, start: float, end: float) -> None:
        """Extend the axis to hold *start* to *end*; contents of tracks may move."""
        if self.origin is None:
            self.origin = self._latest = start
        if start < self.origin:
            self._reach_back(start)
        if end > self._latest:
            while end >= self.origin + self.width * BUCKETS:
                self._fold()
            self._latest = end

    def index(self, instant: float) -> int:
        """Return the bucket of *instant*, which must be covered."""
        assert self.origin is not None
        bucket = int((instant - self.origin) / self.width)
        return bucket if bucket < BUCKETS else BUCKETS - 1

    def _track(self, typecode: str, join: Callable[[Any, Any], Any]) -> array[Any]:
        track = array(typecode, [0]) * BUCKETS
        self._tracks.append((track, join))
        return track

    def _fold(self) -> None:
        """Join pairs of buckets."""
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
