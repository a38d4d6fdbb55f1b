"""The benchmarks' command, with sizes that measure nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.contest import Contest, Contestant, hold
from benchmarks.results import Result
from benchmarks.table import MEANINGS
from benchmarks.usage import descendants
from cloud_tasks.testing import eventually

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *args],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_topic_measures_ours_and_the_floor_and_names_whom_it_lacks(tmp_path: Path) -> None:
    file, page = tmp_path / "noop.json", tmp_path / "page.md"
    nowhere = str(tmp_path / "nowhere")
    done = command("noop", "--quick", "--rounds", "2", "--peers", nowhere, "--json", str(file))
    assert done.returncode == 0, done.stderr
    result = Result.read(file)
    (contest,) = result.contests
    assert [(run.round, run.contestant) for run in contest.runs] == [
        (number, name) for number in (1, 2) for name in contest.names[:2]
    ]
    for run in contest.runs:
        assert set(run.figures) <= set(MEANINGS)
        assert run.figures["cpu_us_tree"] > run.figures["cpu_us_parent"] > 0
    assert set(contest.left_out) == set(contest.names[2:])
    assert all("python -m benchmarks peers" in why for why in contest.left_out.values())
    assert {"cloud_tasks", "loky"} <= set(result.versions)
    assert re.search(r"^cloud_tasks, loky +\d", done.stdout, flags=re.MULTILINE)
    assert command("page", str(file), "--output", str(page)).returncode == 0
    assert "| cloud_tasks, loky |" in page.read_text()


def test_the_guard_fails_when_tasks_have_become_dearer() -> None:
    done = command("guard", "--rounds", "1", "--tasks", "100", "--burn", "3000")
    assert done.returncode == 1, done.stderr
    sentence = done.stderr.splitlines()[-1]
    found = re.search(
        r"takes ([\d.]+) us of CPU, the floor's ([\d.]+) us: ([\d.]+) times", sentence
    )
    assert found is not None, sentence
    ours, floor, ratio = map(float, found.groups())
    assert ours > 3000 > floor
    assert abs(ratio - ours / floor) < 0.05 * ratio


def test_a_contestant_that_fails_takes_part_no_more() -> None:
    contestants = [
        Contestant("floor", "benchmarks.floors:pipes", {"tasks": 10, "warm": 2}),
        Contestant("broken", "benchmarks.floors:pipes", {"tasks": "many"}),
        Contestant("missing", "benchmarks.floors:pipes", command="no-such-command"),
        Contestant("lonely", "benchmarks.floors:pipes", module="no_such_module"),
    ]
    said: list[str] = []
    result = hold(Contest("it", "per_second", "floor", contestants), 2, Path(), said.append)
    assert [run.contestant for run in result.runs] == ["floor", "floor"]
    assert re.match(r"it ended with 1: TypeError: ", result.failed["broken"])
    assert result.left_out == {
        "missing": "the command no-such-command is not installed",
        "lonely": "no_such_module is not installed beside cloud_tasks",
    }
    assert sum("broken failed" in line for line in said) == 1


def test_nothing_is_left_of_a_measurement_that_is_terminated() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "idle"], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as runner:
        # The contestant, its worker, and the processes of two tasks: they idle for 30 s.
        eventually(lambda: len(descendants(runner.pid)) >= 4, 30, what="tasks that wait")
        started = descendants(runner.pid)
        runner.terminate()
        assert runner.wait(20) == 128 + signal.SIGTERM
    eventually(lambda: not any(map(alive, started)), 10, what="end of all that was started")


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_results_that_have_nowhere_to_go_are_not_measured(tmp_path: Path) -> None:
    done = command("noop", "--json", str(tmp_path / "nowhere" / "noop.json"))
    assert done.returncode == 2
    assert "there is no folder" in done.stderr.splitlines()[-1]


_FULL = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root, to run as another user, and setpriv",
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "words",
    [
        "stop_signals --count 2",
        "shortages --count 1 --kind kills",
        pytest.param("shortages --count 1 --kind full", marks=_FULL),
        "random_kills --tasks 200 --kills 100",
    ],
)
def test_no_task_is_lost_in_trouble(words: str) -> None:
    done = command(*words.split())
    assert done.returncode == 0, done.stdout
