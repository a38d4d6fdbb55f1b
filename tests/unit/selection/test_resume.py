"""Which tasks are left out for what earlier runs did."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from fakes import FakeClock, Source, deliveries

from cloud_tasks.errors import SourceError
from cloud_tasks.runtime.intake import Intake
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.selection.resume import Findings, PreviousResult, SelectUnfinished
from cloud_tasks.task import Delivery, Malformed, Task

NEW, DONE, FAILED, OTHER_DATA = PreviousResult


def never() -> bool:
    return False


class Verdicts:
    """Gives out verdicts in order, NEW at the end."""

    def __init__(self, verdicts: Iterable[PreviousResult]) -> None:
        self._verdicts = list(verdicts)
        self.asked: list[str] = []
        self.was_read = False

    def read(self, stopped: Callable[[], bool]) -> None:
        self.was_read = True

    def find(self, task: Task) -> PreviousResult:
        assert self.was_read
        self.asked.append(task.task_id)
        return self._verdicts.pop(0) if self._verdicts else NEW

    def changed(self) -> tuple[int, tuple[str, ...]]:
        return 1, ("t9",)


class File(Source):
    """A source that can be read twice; the second time it may be another one."""

    def __init__(
        self,
        items: list[Delivery | Malformed],
        twin: list[Delivery | Malformed] | None = None,
        error: Exception | None = None,
    ) -> None:
        super().__init__(items, requeues=False, error=error)
        self.twin = Source(items if twin is None else twin, error=error)

    def clone(self) -> Source:
        return self.twin


class Bench:
    """An intake over *source* that resumes by *verdicts*."""

    def __init__(
        self,
        source: Source,
        verdicts: Iterable[PreviousResult],
        *,
        rerun_failed: bool = False,
        skip: int = 0,
        most: int | None = None,
    ) -> None:
        self.source = source
        self.record = Verdicts(verdicts)
        self.plans: list[Findings | None] = []
        self.ends: list[Findings] = []
        self.stats = Stats(FakeClock())
        selection = SelectUnfinished(
            self.record,
            rerun_failed=rerun_failed,
            on_plan=self.plans.append,
            on_end=self.ends.append,
        )
        selection.prepare(never)
        self.intake = Intake(source, self.stats, skip=skip, limit=most, selection=selection)

    def taken(self, n: int = 3, stopped: Callable[[], bool] = never) -> list[str]:
        self.intake.begin(stopped)
        found: list[Delivery] = []
        while not self.intake.ended:
            found += self.intake.receive(n)[0]
        self.intake.finish()
        return [delivery.task.task_id for delivery in found]

    @property
    def counts(self) -> tuple[int, int, int]:
        return self.stats.finished_before, self.stats.failed_before, self.stats.skipped


def ids(*numbers: int) -> list[str]:
    return [f"t{n}" for n in numbers]


MIXED = [DONE, NEW, FAILED, DONE, OTHER_DATA]
SOURCES = pytest.mark.parametrize("kind", [File, Source], ids=["file", "pipe"])


@SOURCES
@pytest.mark.parametrize("n", [1, 2, 100])
def test_runs_what_is_left_over_in_order_and_sets_the_rest_aside(
    kind: type[Source], n: int
) -> None:
    bench = Bench(kind([*deliveries(8)]), MIXED)
    assert bench.taken(n) == ids(1, 4, 5, 6, 7)
    assert bench.counts == (2, 1, 0)
    assert bench.source.aside == ids(0, 2, 3)
    assert bench.record.asked == ids(*range(8))


@SOURCES
def test_runs_failed_tasks_again_if_asked_to(kind: type[Source]) -> None:
    bench = Bench(kind([*deliveries(5)]), MIXED, rerun_failed=True)
    assert bench.taken() == ids(1, 2, 4)
    assert bench.counts == (2, 0, 0)


@SOURCES
def test_the_first_tasks_that_are_skipped_are_not_compared(kind: type[Source]) -> None:
    bench = Bench(kind([*deliveries(8)]), MIXED, skip=2)
    assert bench.taken() == ids(3, 6, 7)
    assert bench.record.asked == ids(*range(2, 8))
    assert bench.counts == (2, 1, 2)


@SOURCES
@pytest.mark.parametrize("n", [1, 3, 100])
def test_a_limit_counts_only_what_is_run(kind: type[Source], n: int) -> None:
    bench = Bench(kind([*deliveries(9)]), MIXED, most=3)
    assert bench.taken(n) == ids(1, 4, 5)
    assert bench.intake.limited


def test_a_file_is_compared_first_and_its_plan_told_of_once() -> None:
    bench = Bench(File([*deliveries(8)]), MIXED)
    bench.intake.begin(never)
    assert bench.plans == [Findings(done=2, failed=1, others=5, changed=1, names=("t9",))]
    assert bench.stats.total == 5
    assert bench.counts == (2, 1, 0)
    bench.taken()
    assert bench.ends == []


def test_a_pipe_is_compared_task_by_task_and_told_of_at_its_end() -> None:
    bench = Bench(Source([*deliveries(8)]), MIXED)
    bench.source.total = 8
    bench.intake.begin(never)
    assert bench.plans == [None]
    assert bench.stats.total is None
    bench.taken()
    assert bench.ends == [Findings(done=2, failed=1, others=5, changed=1, names=("t9",))]


def test_the_limit_is_what_will_be_run_at_most() -> None:
    bench = Bench(File([*deliveries(8)]), MIXED, most=2)
    bench.intake.begin(never)
    assert bench.stats.total == 2


def test_a_file_of_which_nothing_is_left_is_not_read_a_second_time() -> None:
    bench = Bench(File([*deliveries(500)]), [DONE] * 500)
    assert bench.taken() == []
    assert bench.source.asked == []
    assert bench.counts == (500, 0, 0)


def test_a_long_way_to_the_next_task_is_gone_in_great_steps() -> None:
    bench = Bench(File([*deliveries(10_000)]), [DONE] * 9_990)
    assert bench.taken(2) == ids(*range(9_990, 10_000))
    assert len(bench.source.asked) < 12
    assert max(bench.source.asked) <= 4096


def test_a_file_is_read_no_further_than_to_the_last_task_to_run() -> None:
    bench = Bench(File([*deliveries(10_000)]), [DONE, NEW] + [DONE] * 9_998)
    assert bench.taken(2) == ids(1)
    assert sum(bench.source.asked) < 10
    assert not bench.intake.limited


@pytest.mark.parametrize("at", [0, 3, 9, 20])
def test_bad_entries_are_told_of_wherever_they_are(at: int) -> None:
    items: list[Delivery | Malformed] = [*deliveries(20)]
    items.insert(at, Malformed("entry", "is null"))
    bench = Bench(File(items), [DONE] * 5 + [NEW] + [DONE] * 14)
    assert bench.taken() == ids(5)
    assert bench.stats.bad_entries == 1
    assert bench.intake.error() is not None


def test_a_file_that_breaks_is_planned_as_far_as_it_goes_and_breaks_again() -> None:
    bench = Bench(File([*deliveries(6)], error=SourceError("cut off")), [DONE, NEW])
    bench.intake.begin(never)
    assert bench.plans == [Findings(done=1, others=5, changed=1, names=("t9",))]
    with pytest.raises(SourceError, match="cut off"):
        bench.taken()
    assert bench.source.aside == ids(0)


def test_tasks_that_a_file_has_got_meanwhile_are_run() -> None:
    bench = Bench(File([*deliveries(10)], twin=[*deliveries(4)]), [DONE, NEW, DONE, NEW])
    assert bench.taken(100)[:2] == ids(1, 3)


def test_a_plan_that_nobody_waits_for_any_more_is_dropped() -> None:
    answers = iter([False, True])
    bench = Bench(File([*deliveries(9_000)]), [])
    bench.intake.begin(lambda: next(answers, True))
    assert bench.plans == []
    assert bench.source.twin.closed  # type: ignore[attr-defined]
    assert len(bench.record.asked) < 9_000


def test_tasks_and_none_of_them_in_the_record_have_no_overlap() -> None:
    assert Findings(others=3).no_overlap
    assert not Findings().no_overlap
    assert not Findings(others=3, done=1).no_overlap
    assert not Findings(others=3, failed=1).no_overlap
    assert not Findings(others=3, changed=1).no_overlap
