"""CPU time of this process and its descendants."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from benchmarks import light
from benchmarks.usage import Marks, Usage, descendants, status, timed
from cloud_tasks.testing import eventually

BURNS = """
import subprocess, sys, time
if sys.argv[1] != "0":
    subprocess.run([sys.executable, "-c", sys.argv[2], "0", sys.argv[2]])
while time.process_time() < 0.3:
    pass
print("burnt", flush=True)
if sys.argv[1] == "1":
    sys.stdin.read()
"""


def test_a_child_counts_while_it_lives_and_when_it_is_gone_with_what_it_has_reaped() -> None:
    before = Usage.now()
    command = [sys.executable, "-c", BURNS, "1", BURNS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == child.stdout.readline() == b"burnt\n"
        assert child.pid in descendants()
        alive = Usage.now()
    gone = Usage.now()
    assert child.pid not in descendants()
    for after in (alive, gone):
        # Two processes of 0.3 s, one of them in ticks.
        assert 0.55 < after.tree - before.tree < 3.0
        assert after.parent - before.parent < 0.5


def test_figures_are_a_task_and_leave_out_what_the_look_itself_took() -> None:
    first = Usage(wall=10.0, parent=1.0, tree=2.0, looking=0.5)
    figures = Usage(wall=12.0, parent=2.5, tree=5.5).figures(first, tasks=1000, slots=1)
    assert figures == {
        "per_second": 500.0,
        "cpu_us_parent": 1000.0,
        "cpu_us_tree": 3000.0,
        "children_busy": 1.0,
    }


def test_only_the_work_is_timed() -> None:
    figures = timed(lambda: time.sleep(0.05), tasks=1, slots=1)
    assert 1 < figures["per_second"] <= 20


def test_a_mark_is_taken_when_a_task_asks_for_it(tmp_path: Path) -> None:
    marks = Marks(tmp_path / "marks")
    for count in (1, 2):
        assert light.nothing("id", {"mark": marks.path}, None) == (False, None)
        eventually(partial(_taken, marks, count), 10, what="mark")
    light.nothing("id", {}, None)
    marks.close()
    assert len(marks.taken) == 2
    assert marks.taken[0].wall < marks.taken[1].wall


def _taken(marks: Marks, count: int) -> bool:
    return len(marks.taken) == count


def test_numbers_of_a_process_can_be_read() -> None:
    assert status("self", "Threads") == len(list(Path("/proc/self/task").iterdir()))
    assert 5 < status("self", "VmRSS") <= status("self", "VmHWM")
