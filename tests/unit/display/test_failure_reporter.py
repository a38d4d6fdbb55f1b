from __future__ import annotations

from fakes import FakeClock

from cloud_tasks.display.console import MAX_CAUSES, FailureReporter
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.outcome import Completed, Exited, Outcome, Raised
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.task import Delivery, Task

CRASH = Exited(-11)


def delivery(name: str = "t0") -> Delivery:
    return Delivery(Task(name, {}))


def raised(text: str) -> Outcome:
    return Raised("ValueError", text, "")


def reporter(info: RunInfo | None = None) -> FailureReporter:
    return FailureReporter(info or RunInfo(), Stats(FakeClock()))


def test_each_new_cause_is_told_once() -> None:
    lines = reporter().lines_if_new
    assert lines(delivery("t1"), raised("bad header in img_1234")) == [
        " x t1: ValueError: bad header in img_1234"
    ]
    assert lines(delivery("t2"), raised("bad header in img_99")) == []
    assert lines(delivery("t3"), raised("no such file")) != []
    assert lines(delivery("t4"), Completed(False, b"1")) == []


def test_what_a_task_printed_can_be_found() -> None:
    info = RunInfo(logs_command=lambda task_id: f"cloud_tasks logs run {task_id}")
    lines = reporter(info).lines_if_new
    assert lines(delivery("t1"), raised("no"))[1:] == ["   see: cloud_tasks logs run t1"]


def test_a_crash_is_explained_the_first_time() -> None:
    drawn, plain = reporter(), reporter()
    first = drawn.lines_if_new(delivery(), CRASH)
    assert first[0].startswith(" x t0: killed by signal 11 (SIGSEGV)")
    assert len(first) > 2
    assert drawn.lines_if_new(delivery(), CRASH) == []
    assert len(plain.lines(delivery(), CRASH)) > 2
    assert plain.lines(delivery(), CRASH) == ["t0: killed by signal 11 (SIGSEGV)"]


def test_other_running_tasks_are_counted_without_the_one_that_died() -> None:
    stats = Stats(FakeClock())
    stats.submitted = 40
    reporter = FailureReporter(RunInfo(slots=lambda: 4, isolated=True), stats)
    text = " ".join(reporter.lines(delivery(), CRASH))
    assert "The 3 other running tasks" in " ".join(text.split())


def test_ten_thousand_causes_fill_no_screen() -> None:
    lines = reporter().lines_if_new
    told = [
        line
        for n in range(10_000)
        for line in lines(delivery(), raised("".join(chr(97 + int(d)) for d in str(n))))
    ]
    assert len(told) == MAX_CAUSES + 1
    assert told[-1] == " x further causes of failure are listed at the end"
