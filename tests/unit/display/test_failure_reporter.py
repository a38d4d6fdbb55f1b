from __future__ import annotations

from fakes import FakeClock

from cloud_tasks.display.console import MOST_CAUSES, FailureReporter
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.outcome import Completed, Exited, Outcome, Raised
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.task import Delivery, Task

CRASH = Exited(-11)


def delivery(name: str = "t0") -> Delivery:
    return Delivery(Task(name, {}))


def raised(text: str) -> Outcome:
    return Raised("ValueError", text, "")


def teller(facts: RunInfo | None = None) -> FailureReporter:
    return FailureReporter(facts or RunInfo(), Stats(FakeClock()))


def test_each_new_cause_is_told_once() -> None:
    tell = teller().new_ones
    assert tell(delivery("t1"), raised("bad header in img_1234")) == [
        " x t1: ValueError: bad header in img_1234"
    ]
    assert tell(delivery("t2"), raised("bad header in img_99")) == []
    assert tell(delivery("t3"), raised("no such file")) != []
    assert tell(delivery("t4"), Completed(False, b"1")) == []


def test_what_a_task_printed_can_be_found() -> None:
    tell = teller(RunInfo(see=lambda task_id: f"cloud_tasks logs run {task_id}")).new_ones
    assert tell(delivery("t1"), raised("no"))[1:] == ["   see: cloud_tasks logs run t1"]


def test_a_crash_is_explained_the_first_time() -> None:
    drawn, plain = teller(), teller()
    first = drawn.new_ones(delivery(), CRASH)
    assert first[0].startswith(" x t0: killed by signal 11 (SIGSEGV)")
    assert len(first) > 2
    assert drawn.new_ones(delivery(), CRASH) == []
    assert len(plain.every(delivery(), CRASH)) > 2
    assert plain.every(delivery(), CRASH) == ["t0: killed by signal 11 (SIGSEGV)"]


def test_other_running_tasks_are_counted_without_the_one_that_died() -> None:
    stats = Stats(FakeClock())
    stats.submitted = 40
    tell = FailureReporter(RunInfo(slots=lambda: 4, isolated=True), stats)
    assert "The 3 other running tasks" in "\n".join(tell.every(delivery(), CRASH))


def test_ten_thousand_causes_fill_no_screen() -> None:
    tell = teller().new_ones
    told = [
        line
        for n in range(10_000)
        for line in tell(delivery(), raised("".join(chr(97 + int(d)) for d in str(n))))
    ]
    assert len(told) == MOST_CAUSES + 1
    assert told[-1] == " x further causes of failure are told at the end"
