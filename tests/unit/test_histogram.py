"""A histogram is exact enough for people, whatever the scale."""

from __future__ import annotations

import math
import random

import pytest

from cloud_tasks.histogram import Histogram

SHARES = (0.5, 0.95, 0.99)


@pytest.mark.parametrize("scale", [1e-4, 1e-3, 1.0, 1e4])
def test_percentiles_are_within_three_percent(scale: float) -> None:
    rng = random.Random(7)
    values = sorted(scale * rng.lognormvariate(0, 1) for _ in range(5000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = [values[math.ceil(share * len(values)) - 1] for share in SHARES]
    assert histogram.percentiles(SHARES) == pytest.approx(exact, rel=0.03)
    assert (histogram.least, histogram.most) == (values[0], values[-1])
    assert histogram.mean == pytest.approx(sum(values) / len(values))


def test_no_percentile_is_outside_of_the_values() -> None:
    histogram = Histogram()
    assert histogram.percentiles(SHARES) == []
    assert histogram.mean is None
    histogram.add(0.1)
    assert histogram.percentiles(SHARES) == [0.1, 0.1, 0.1]
    histogram.add(0.0)
    assert 0.0 <= histogram.percentiles(SHARES)[0] <= 0.1


def test_histograms_add_up() -> None:
    first, second, none = Histogram(), Histogram(), Histogram()
    first.add(2.0)
    second.add(3.0)
    both = first.plus(second).plus(none)
    assert (both.count, both.total, both.least, both.most) == (2, 5.0, 2.0, 3.0)
    assert none.percentiles((0.5,)) == []
    assert none.plus(first).least == 2.0
