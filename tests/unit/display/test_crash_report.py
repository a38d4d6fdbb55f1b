from __future__ import annotations

import pytest

from cloud_tasks.display.crash_report import explanation, is_explained
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    CrashInfo,
    Exited,
    Measures,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)

pytestmark = pytest.mark.interpreter

GB = 2**30
FAULT = """Fatal Python error: Segmentation fault

Current thread 0x00007f (most recent call first):
  File "/home/me/cubes.py", line 88 in load
  File "/home/me/cubes.py", line 12 in process_task
  File "/site/call.py", line 1 in call
  File "/site/child.py", line 2 in main
"""
FACTS = RunInfo(
    slots=lambda: 16,
    isolated=True,
    logs_command=lambda task_id: f"cloud_tasks logs run {task_id}",
    debug_command=lambda task_id: f"python my.py --task-id {task_id} --debug",
)


def lines_of(outcome: Outcome, info: RunInfo = FACTS, others: int = 15) -> list[str]:
    return explanation("task-0042", outcome, info, others)


def told(outcome: Outcome, info: RunInfo = FACTS, others: int = 15) -> str:
    return " ".join(" ".join(lines_of(outcome, info, others)).split())


def test_a_kill_for_want_of_memory_is_explained_and_what_to_do() -> None:
    crash_info = CrashInfo(
        last_output="\x1b[1mx\x1b[0m\n" * 20 + "loading cube 0042 (12000 x 12000 x 40)\n",
        memory=int(14.8 * GB), free_memory=int(15.6 * GB),
    )  # fmt: skip
    assert lines_of(Exited(-9, None, Measures(run_time=12.4), crash_info)) == [
        "  Memory at its end: 14.8 GB; 15.6 GB were free when it began. Probably the",
        "  machine was out of memory. The 15 other running tasks were not affected.",
        "  try          --num-simultaneous-tasks 8   or   --max-memory-allowed-per-task GB",
        "  last output  | x",
        *["               | x"] * 3,
        "               | loading cube 0042 (12000 x 12000 x 40)",
        "  see          cloud_tasks logs run task-0042",
        "  run it alone python my.py --task-id task-0042 --debug",
        "  why did my task die: docs/what-can-go-wrong.md",
    ]


def test_what_the_kernel_counted_is_no_guess() -> None:
    text = told(Exited(-9, "out of memory"))
    assert "was out of memory, and the kernel ended it" in text
    assert "robably" not in text
    assert "--num-simultaneous-tasks 8" in text


def test_a_kill_with_memory_to_spare_is_not_laid_to_memory() -> None:
    text = told(Exited(-9, None, crash_info=CrashInfo(memory=GB, free_memory=10 * GB)))
    assert "Another process or user killed it." in text
    assert "out of memory" not in text
    assert "try" not in text


def test_a_crash_in_c_shows_where_python_was_innermost_first() -> None:
    lines = lines_of(Exited(-11, crash_info=CrashInfo(traceback=FAULT)))
    at = next(n for n, line in enumerate(lines) if "it was in" in line)
    assert lines[at] == '  it was in    File "/home/me/cubes.py", line 88 in load'
    assert lines[at + 1].endswith("line 12 in process_task")
    assert "child.py" not in "".join(lines)
    assert "Native code accessed invalid memory (segmentation fault)." in lines[0]


def test_a_traceback_of_python_itself_is_read_from_its_end() -> None:
    text = (
        'Traceback (most recent call last):\n  File "a.py", line 1 in f\n  File "b.py", line 2 in g'
    )
    lines = lines_of(Exited(-6, crash_info=CrashInfo(traceback=text)))
    assert next(line for line in lines if "it was in" in line).endswith('"b.py", line 2 in g')


def test_too_much_memory_is_told_in_numbers() -> None:
    text = told(OverMemory(4 * GB, 5 * GB + GB // 5), others=1)
    assert "used 5.2 GB, more than the limit of 4.0 GB" in text
    assert "The other running task was not affected." in text
    assert "a higher --max-memory-allowed-per-task" in text


def test_small_numbers_are_in_megabytes() -> None:
    assert "used 300 MB, more than the limit of 100 MB" in told(
        OverMemory(100 * 2**20, 300 * 2**20)
    )


@pytest.mark.parametrize(
    ("info", "others"), [(RunInfo(), 5), (FACTS, 0)], ids=["shared fate", "nobody else"]
)
def test_of_others_only_what_is_known_is_said(info: RunInfo, others: int) -> None:
    assert "affected" not in told(Exited(-11), info, others)


def test_what_nobody_knows_is_left_out() -> None:
    assert lines_of(Exited(None), RunInfo()) == ["  why did my task die: docs/what-can-go-wrong.md"]
    assert "--num-simultaneous-tasks" not in told(Exited(-9, "out of memory"), RunInfo())


@pytest.mark.parametrize("number", range(1, 65))
def test_every_signal_can_be_explained(number: int) -> None:
    assert is_explained(Exited(-number))
    assert told(Exited(-number))


def test_hostile_output_and_ids_stay_in_their_lines() -> None:
    evil = "\x1b[2J\r\ud800\x00" + "x" * 10_000
    info = RunInfo(
        logs_command=lambda task_id: f"see {task_id}",
        debug_command=lambda task_id: f"alone {task_id}",
    )
    crash_info = CrashInfo(f'File "{evil}"', f"{evil}\n{evil}", 1, 1)
    for line in explanation(evil, Exited(-9, evil, crash_info=crash_info), info):
        assert line.isprintable()
        assert len(line) < 1100


@pytest.mark.parametrize(
    ("outcome", "explained"),
    [
        (Completed(True, b"1"), False), (Raised("E", "", ""), False), (Aborted("we did"), False),
        (Exited(3), False), (Exited(0), False), (Exited(-9), True), (Exited(None), True),
        (OverMemory(1, 2), True), (TimedOut(1.0), False),
        (TimedOut(1.0, crash_info=CrashInfo()), False),
        (TimedOut(1.0, crash_info=CrashInfo(traceback=FAULT)), True),
    ],
    ids=str,
)  # fmt: skip
def test_only_an_end_that_came_from_outside_is_explained(outcome: Outcome, explained: bool) -> None:
    assert is_explained(outcome) is explained


def test_a_task_that_ran_too_long_shows_where_it_was() -> None:
    text = told(TimedOut(60.0, crash_info=CrashInfo(traceback=FAULT)))
    assert "line 88 in load" in text
    assert "die" not in text
