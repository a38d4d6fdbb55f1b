from __future__ import annotations

import pytest

from cloud_tasks.display.progress import RateEstimator
from cloud_tasks.executors.base import Running
from cloud_tasks.runtime.stats import Snapshot

TIMES = {"p50": 2.0, "p95": 10.0, "p99": 12.0, "max": 20.0, "mean": 3.0}


def at(elapsed: float, ended: int, total: int | None, running: int = 2) -> Snapshot:
    return Snapshot(elapsed, ended, ended, 0, running, total, run_time=TIMES)


def steady(
    rate: float, seconds: int, estimator: RateEstimator | None = None, start: int = 0
) -> RateEstimator:
    """Add samples of *seconds* at *rate* to *estimator*, two a second."""
    estimator = estimator or RateEstimator()
    for half in range(1, 2 * seconds + 1):
        estimator.add(start + half / 2, int((start + half / 2) * rate))
    return estimator


def running(*ages: float) -> list[Running]:
    return [Running(f"t{n}", n, age) for n, age in enumerate(ages)]


def test_what_is_left_is_the_rest_by_the_rate() -> None:
    estimator = steady(10, 30)
    assert estimator.rate(2) == pytest.approx(10, rel=0.05)
    assert estimator.left(at(30, 300, 1000), 2) == pytest.approx(70, rel=0.05)


def test_the_rate_is_that_of_the_last_minute() -> None:
    estimator = steady(100, 300)
    for second in range(300, 420):
        estimator.add(second, 30_000 + second - 300)
    assert estimator.rate(4) == pytest.approx(1, rel=0.1)


def test_a_quiet_minute_between_long_tasks_is_not_taken_for_the_rate() -> None:
    estimator = RateEstimator()
    for second in range(1, 601):
        estimator.add(second, 16 * (second // 300))
    assert estimator.rate(16) == pytest.approx(32 / 600)


def test_nothing_is_said_at_the_start_nor_where_nobody_can_know() -> None:
    estimator = steady(10, 30)
    assert estimator.left(at(4.9, 40, 1000), 2) is None
    assert estimator.left(at(30, 300, None), 2) is None
    assert estimator.left(at(30, 3, 1000), 2) is None
    assert RateEstimator().left(at(30, 300, 1000), 2) is None


def test_few_tasks_do_not_need_two_a_slot_to_be_estimated() -> None:
    estimator = steady(0.1, 30)
    assert estimator.left(at(30, 3, 12), 16, running(*[1.0] * 8)) is not None


def test_at_the_end_the_slowest_that_runs_decides_and_not_the_rate() -> None:
    estimator = steady(10, 30)
    left = estimator.left(at(30, 298, 300), 4, running(1.0, 7.5))
    assert left == pytest.approx(9.0)


def test_a_task_that_is_slower_than_usual_is_measured_by_the_slowest() -> None:
    estimator = steady(10, 30)
    assert estimator.left(at(30, 299, 300), 4, running(12.0)) == pytest.approx(8.0)
    assert estimator.left(at(30, 299, 300), 4, running(25.0)) is None


def test_all_done_is_nothing_left() -> None:
    assert steady(10, 30).left(at(30, 300, 300), 4) == 0
