"""Count positive quantities over many orders of magnitude, in little memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

#: Buckets in a factor of e: a percentile is off by 2.5 % at most.
FINENESS = 20
#: Smaller values count as this one.
_LEAST = 1e-6


class Histogram:
    """A histogram with logarithmic buckets.

    Attributes:
        buckets: number of values by bucket; the middle of bucket ``k`` is ``exp(k / FINENESS)``.
        count: number of all values.
        total: their sum.
        least, most: the smallest and the largest value; 0 before the first.
    """

    __slots__ = ("buckets", "count", "least", "most", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.least = 0.0
        self.most = 0.0

    def add(self, value: float) -> None:
        """Count *value*."""
        bucket = round(FINENESS * math.log(value if value > _LEAST else _LEAST))
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        if value > self.most:
            self.most = value
        if value < self.least or not self.count:
            self.least = value
        self.count += 1
        self.total += value

    @property
    def mean(self) -> float | None:
        """Return the mean; None before the first value."""
        return self.total / self.count if self.count else None

    def percentiles(self, shares: Sequence[float]) -> list[float]:
        """Return the value below which each of *shares* lies; *shares* ascend.

        Returns:
            One value for each share; an empty list before the first value.
        """
        found: list[float] = []
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            while len(found) < len(shares) and seen >= shares[len(found)] * self.count:
                middle = math.exp(bucket / FINENESS)
                found.append(min(max(middle, self.least), self.most))
        return found

    def plus(self, other: Histogram) -> Histogram:
        """Return a new histogram of the values of both."""
        both = Histogram()
        both.buckets = dict(self.buckets)
        for bucket, count in other.buckets.items():
            both.buckets[bucket] = both.buckets.get(bucket, 0) + count
        both.count = self.count + other.count
        both.total = self.total + other.total
        both.most = max(self.most, other.most)
        both.least = min((h.least for h in (self, other) if h.count), default=0.0)
        return both
