"""What the guard makes of rounds."""

from __future__ import annotations

import pytest

from benchmarks.guard import SLACK, Verdict, judge
from benchmarks.results import ContestResult, Run


def rounds(ours: list[float], floor: list[float]) -> ContestResult:
    runs = [
        Run(number, name, {"cpu_us_tree": value}, 1.0, 0.0, 0.0)
        for name, values in (("floor", floor), ("ours", ours))
        for number, value in enumerate(values, 1)
    ]
    return ContestResult("guard", "cpu_us_tree", "floor", ["floor", "ours"], [], runs)


@pytest.mark.parametrize(
    ("ours", "floor", "ratio"),
    [
        ([90.0, 60.0, 300.0], [40.0, 25.0, 100.0], 2.4),  # the best rounds
        ([90.0, 60.0, 300.0], [60.0, 20.0, 200.0], 1.5),  # the same round, the one in the middle
    ],
)
def test_noise_of_others_is_not_taken_for_a_change_of_ours(
    ours: list[float], floor: list[float], ratio: float
) -> None:
    assert judge(rounds(ours, floor)).ratio == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("ours", "passes"), [(10.0, True), (187.0, True), (188.0, False), (1000.0, False)]
)
def test_it_fails_above_the_recorded_ratio_and_the_slack(ours: float, passes: bool) -> None:
    assert SLACK == 0.25
    assert Verdict((ours,), floor=(100.0,), recorded=1.5).passed is passes


def test_its_sentence_has_both_figures_the_ratio_and_what_is_allowed() -> None:
    passed = str(Verdict((95.0, 90.0), floor=(63.0, 60.0), recorded=1.6))
    assert passed == (
        "a no-op task takes 90.0 us of CPU, the floor's 60.0 us: 1.50 times as much, "
        "2.00 are allowed (1.60 were recorded)"
    )
    failed = str(Verdict((180.0,), floor=(60.0,), recorded=1.6))
    assert failed.startswith(
        "a no-op task takes 180.0 us of CPU, the floor's 60.0 us: 3.00 times as much, "
        "2.00 are allowed; find out what made it more expensive"
    )
