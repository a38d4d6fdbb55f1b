from __future__ import annotations

import pytest
from fakes import FakeClock, Source, deliveries

from cloud_tasks.errors import SourceError, TaskFormatError
from cloud_tasks.runtime.intake import Intake, lookahead
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.task import Delivery, Malformed


def taken(intake: Intake, n: int = 3) -> list[str]:
    """Take to the end; return the ids."""
    found: list[Delivery] = []
    while not intake.ended:
        found += intake.receive(n)[0]
    return [delivery.task.task_id for delivery in found]


def ids(first: int, end: int) -> list[str]:
    return [f"t{n}" for n in range(first, end)]


def test_gives_all_there_is_and_no_more_than_asked_for() -> None:
    source = Source(deliveries(10))
    intake = Intake(source, Stats(FakeClock()))
    assert taken(intake) == ids(0, 10)
    assert max(source.asked) == 3
    assert not intake.limited


@pytest.mark.parametrize("skip", [0, 1, 3, 7, 10, 12])
@pytest.mark.parametrize("n", [1, 3, 100])
def test_skips_the_first_and_sets_them_aside(skip: int, n: int) -> None:
    source, stats = Source(deliveries(10)), Stats(FakeClock())
    assert taken(Intake(source, stats, skip=skip), n) == ids(skip, 10)
    assert source.aside == ids(0, min(skip, 10))
    assert stats.skipped == min(skip, 10)


@pytest.mark.parametrize("n", [1, 3, 100])
def test_takes_no_task_beyond_the_limit_out_of_the_source(n: int) -> None:
    source = Source(deliveries(10))
    intake = Intake(source, Stats(FakeClock()), skip=2, limit=4)
    assert taken(intake, n) == ids(2, 6)
    assert intake.limited
    assert len(source.receive(100).deliveries) == 4


def test_a_limit_of_none_at_all_ends_at_once() -> None:
    source = Source(deliveries(10))
    assert taken(Intake(source, Stats(FakeClock()), limit=0)) == []
    assert source.asked == []


def test_a_source_that_ends_at_the_limit_just_ended() -> None:
    intake = Intake(Source(deliveries(4)), Stats(FakeClock()), limit=4)
    assert taken(intake, 100) == ids(0, 4)
    assert not intake.limited


def test_bad_entries_are_set_aside_and_told_of() -> None:
    good = deliveries(2)
    bad = [Malformed(f"entry {n}", "is null") for n in range(8)]
    stats = Stats(FakeClock())
    intake = Intake(Source([*bad[:4], good[0], *bad[4:], good[1]]), stats, limit=2)
    assert taken(intake) == ids(0, 2)
    assert stats.bad_entries == 8
    error = intake.error()
    assert isinstance(error, TaskFormatError)
    assert "8 entries were no tasks: entry 0: is null; entry 1" in str(error)
    assert str(error).endswith("and 3 more")


def test_without_bad_entries_there_is_no_error() -> None:
    assert Intake(Source([]), Stats(FakeClock())).error() is None


def test_an_error_of_the_source_passes() -> None:
    intake = Intake(Source(deliveries(2), error=SourceError("cut off")), Stats(FakeClock()))
    assert len(intake.receive(2)[0]) == 2
    with pytest.raises(SourceError, match="cut off"):
        intake.receive(2)


@pytest.mark.parametrize(
    ("total", "skip", "most", "expected"),
    [(None, 3, 5, None), (10, 0, None, 10), (10, 3, None, 7), (10, 3, 5, 5), (2, 3, None, 0)],
)
def test_says_how_many_will_run_where_that_is_known(
    total: int | None, skip: int, most: int | None, expected: int | None
) -> None:
    source = Source([])
    source.total = total
    assert Intake(source, Stats(FakeClock()), skip=skip, limit=most).expected() == expected


def test_looks_further_ahead_the_shorter_tasks_are_but_not_without_bound() -> None:
    ahead = [lookahead(4, mean) for mean in (1000.0, 1.0, 0.02, 0.001, 1e-9)]
    assert ahead == sorted(ahead)
    assert ahead[0] == 1
    assert ahead[-1] <= 1000
    assert lookahead(4, None) == 4
