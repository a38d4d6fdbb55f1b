from __future__ import annotations

from fakes import FakeClock

from cloud_tasks.outcome import (
    Aborted,
    Completed,
    Exited,
    Measures,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.policy import RetryRules, decide
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.summary import StopReason
from cloud_tasks.task import Delivery, Task


def count(stats: Stats, outcome: Outcome, task_id: str = "a") -> None:
    delivery = Delivery(Task(task_id, {}))
    stats.add(delivery, outcome, decide(outcome, delivery, RetryRules()))


def test_every_outcome_is_counted_by_its_kind() -> None:
    clock = FakeClock()
    stats = Stats(clock, total=10)
    for outcome in (
        Completed(False, b"1", Measures(run_time=2.0)),
        Completed(True, b"1"),
        Raised("E", "text", ""),
        TimedOut(3.0),
        Exited(1),
        OverMemory(1, 2),
        Aborted("we did"),
    ):
        count(stats, outcome)
    clock.now += 14
    summary = stats.summary(StopReason.DONE)
    assert (summary.completed, summary.exceptions, summary.timed_out) == (2, 1, 1)
    assert (summary.exited, summary.over_memory, summary.aborted) == (1, 1, 1)
    assert (summary.retry_requested, summary.not_done, summary.ended) == (1, 6, 7)
    assert (summary.elapsed, summary.rate) == (14, 0.5)
    assert summary.run_time["max"] == 2.0
    now = stats.snapshot()
    assert (now.ended, now.succeeded, now.failed, now.total) == (7, 1, 6, 10)


def test_the_wall_clock_has_no_say_in_what_elapsed() -> None:
    clock = FakeClock()
    stats = Stats(clock)
    clock.now += 5
    clock.today -= 7200
    assert stats.summary(StopReason.DONE).elapsed == 5


def test_failures_that_are_alike_are_one_cause_with_the_first_as_example() -> None:
    stats = Stats(FakeClock())
    for n in range(50):
        count(stats, Raised("ValueError", f"bad pixel {n} of 4096\nmore", ""), f"t{n}")
    count(stats, Exited(3), "odd")
    causes = stats.summary(StopReason.DONE).causes
    assert [(c.text, c.count, c.example) for c in causes] == [
        ("ValueError: bad pixel # of #", 50, "t0"),
        ("exit code 3", 1, "odd"),
    ]


def test_causes_take_bounded_memory_and_lose_no_count() -> None:
    stats = Stats(FakeClock())
    letters = "abcdefghijklmnopqrstuvwxyz"
    for n in range(5000):
        name = "".join(letters[n // 26**k % 26] for k in range(3))
        count(stats, Raised("E", name + "x" * 10_000, ""))
    causes = stats.summary(StopReason.DONE).causes
    assert len(causes) <= 1001
    assert sum(cause.count for cause in causes) == 5000
    assert max(len(cause.text) for cause in causes) <= 120
