"""Medians, ratios of the same round, aims, and the way through JSON."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.results import Aim, ContestResult, Result, Run


def run(number: int, contestant: str, **figures: float) -> Run:
    return Run(number, contestant, figures, seconds=1.0, others=0.5, stolen=0.0)


def contest(*runs: Run, aims: tuple[Aim, ...] = ()) -> ContestResult:
    return ContestResult("a race", "rate", "peer", ["peer", "ours"], list(aims), list(runs))


def result(*contests: ContestResult) -> Result:
    return Result(
        topic="noop",
        command="python -m benchmarks noop",
        began="2026-01-01T00:00:00+00:00",
        rounds=3,
        quick=True,
        machine={"cores": "2"},
        versions={"peer": "1.0"},
        contests=list(contests),
    )


RACE = contest(
    run(1, "peer", rate=10), run(1, "ours", rate=30),
    run(2, "peer", rate=40), run(2, "ours", rate=40),
    run(3, "peer", rate=20), run(3, "ours", rate=40),
)  # fmt: skip


def test_a_ratio_is_the_median_of_the_ratios_of_the_same_round() -> None:
    # Of the medians it would be 40 / 20 as well, but for the order of the rounds.
    assert RACE.ratio("ours", "rate", "peer") == 2.0
    assert RACE.ratio("peer", "rate", "peer") == 1.0
    slow_then_fast = contest(
        run(1, "peer", rate=1), run(1, "ours", rate=3), run(2, "peer", rate=9),
        run(2, "ours", rate=9), run(3, "peer", rate=2), run(3, "ours", rate=2),
    )  # fmt: skip
    assert slow_then_fast.ratio("ours", "rate", "peer") == 1.0
    assert slow_then_fast.median("ours", "rate") == 3


def test_a_round_that_one_of_both_has_missed_does_not_count() -> None:
    halved = contest(run(1, "peer", rate=10), run(1, "ours", rate=30), run(2, "ours", rate=500))
    assert halved.ratio("ours", "rate", "peer") == 3.0
    assert (
        contest(run(1, "peer", rate=1), run(2, "ours", rate=1)).ratio("ours", "rate", "peer")
        is None
    )


def test_what_was_never_measured_is_none() -> None:
    assert RACE.median("ours", "memory") is None
    assert RACE.median("nobody", "rate") is None
    assert RACE.ratio("nobody", "rate", "peer") is None


@pytest.mark.parametrize(
    ("aim", "measured"),
    [
        (Aim("the figure", "ours", "rate", 1), 40),
        (Aim("the ratio", "ours", "rate", 1, versus="peer"), 2.0),
        (Aim("the difference", "ours", "rate", 1, versus="peer", difference=True), 20),
        (Aim("nobody's", "nobody", "rate", 1, versus="peer", difference=True), None),
    ],
)
def test_an_aim_looks_at_a_figure_a_ratio_or_a_difference(aim: Aim, measured: float | None) -> None:
    assert RACE.measured(aim) == measured


@pytest.mark.parametrize(
    ("most", "measured", "word"),
    [
        (False, 2.1, "stretch"),
        (False, 2.0, "stretch"),
        (False, 1.9, "yes"),
        (False, 0.9, "no"),
        (True, 0.9, "yes"),
        (True, 1.0, "yes"),
        (True, 1.1, "no"),
    ],
)
def test_an_aim_is_reached_from_its_bound_on(most: bool, measured: float, word: str) -> None:
    stretch = None if most else 2.0
    assert Aim("it", "ours", "rate", 1.0, stretch, most=most).reached(measured) == word


def test_results_come_back_from_json_as_they_were(tmp_path: Path) -> None:
    kept = result(contest(run(1, "ours", rate=1.5), aims=(Aim("it", "ours", "rate", 1, 2),)))
    kept.write(tmp_path / "noop.json")
    assert Result.read(tmp_path / "noop.json") == kept
    assert [file.name for file in tmp_path.iterdir()] == ["noop.json"]


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 2}', "# a page"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json holds no results"):
        Result.read(tmp_path / "other.json")
