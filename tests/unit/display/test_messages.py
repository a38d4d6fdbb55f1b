from __future__ import annotations

import pytest

from cloud_tasks.display.messages import outcome_line, progress_line, summary_lines
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
from cloud_tasks.runtime.stats import Snapshot
from cloud_tasks.summary import Cause, RunSummary, StopReason
from cloud_tasks.task import Delivery, Task

RAN = Measures(run_time=4.2)


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (Completed(False, b'{"a": 1}'), 'a: {"a": 1}'),
        (Completed(True, b"1"), "a: asks for another try: 1"),
        (Raised("ValueError", "no\nmore", ""), "a: ValueError: no"),
        (TimedOut(3.0, RAN), "a: ran longer than 3 s"),
        (Exited(-9, None, RAN), "a: killed by signal 9 (SIGKILL), after 4.2 s"),
        (OverMemory(2**30, 2**31), "a: used more than 1 GB of memory"),
        (Aborted("grace over", RAN), "a: aborted: grace over, after 4.2 s"),
    ],
    ids=str,
)
def test_an_outcome_is_one_line(outcome: Outcome, line: str) -> None:
    assert outcome_line(Delivery(Task("a", {})), outcome) == line


def test_hostile_ids_and_texts_stay_in_their_line() -> None:
    evil = "\x1b[2J\n\ud800" + "x" * 2**20
    for outcome in (Raised(evil[:10], evil, evil), Aborted(evil), Exited(1, evil)):
        line = outcome_line(Delivery(Task(evil, {})), outcome)
        assert len(line.splitlines()) == 1
        assert len(line) < 1000
        assert line.isprintable()


def test_progress_is_pairs_that_a_script_can_read() -> None:
    line = progress_line(Snapshot(20.0, 50, 45, 5, 2, 200), 2.5, 60.0)
    head, *rest = line.split()
    assert head == "progress"
    assert dict(pair.split("=") for pair in rest) == {
        "done": "50/200", "pct": "25.0", "ok": "45", "failed": "5", "rate": "2.50/s",
        "elapsed": "0:20", "left": "1:00",
    }  # fmt: skip


@pytest.mark.parametrize("total", [None, 0, 200])
def test_progress_can_be_told_before_anything_has_happened(total: int | None) -> None:
    assert "left" not in progress_line(Snapshot(0.0, 0, 0, 0, 0, total), 0.0)


def test_a_summary_names_every_count_that_is_not_zero() -> None:
    summary = RunSummary(
        StopReason.SIGTERM, 1000, 2, 3, 4, 5, 6, 7, 27, 8, 9, elapsed=60.0, rate=17.0,
        run_time={"p50": 0.1, "p95": 0.2, "p99": 0.3, "max": 0.4, "mean": 0.1},
        causes=tuple(Cause(f"cause \x1b{n}", 100 - n, f"t{n}") for n in range(12)),
        trouble="no\ndisk", given_up=12,
    )  # fmt: skip
    text = "\n".join(summary_lines(summary))
    assert "stopped by SIGTERM: 1,020 tasks in 1:00" in text
    assert "exit code 143" in text
    for said in ("completed 1,000", "raised 2", "timed out 3", "exited 4", "over memory 5"):
        assert said in text
    for said in ("aborted 6", "another try 7", "bad entries 8", "skipped 9", "given up 12"):
        assert said in text
    assert "p99 300 ms" in text
    assert "and 179 for 2 other causes" in text
    assert all(line.isprintable() for line in summary_lines(summary))


@pytest.mark.parametrize("reason", StopReason)
def test_every_reason_has_its_words(reason: StopReason) -> None:
    assert summary_lines(RunSummary(reason))[0]
