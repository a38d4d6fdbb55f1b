"""Programs on machines in a bad state: closed pipes, full disks, no home, no folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from e2e.program import WAIT, Program, environment, prepared

#: Two programs one after the other may each take as long as :data:`WAIT`.
pytestmark = pytest.mark.timeout(180)

EXECUTORS = pytest.mark.parametrize("executor", ["inline", "loky"])


@pytest.fixture
def program(tmp_path: Path) -> Program:
    program = Program(tmp_path)
    program.tasks({}, {}, {})
    return program


def test_a_reader_that_goes_away_costs_no_event(program: Program) -> None:
    program.tasks(*[{}] * 500)
    for round_number, where in enumerate(["stdout", "stderr"], 1):
        reading, writing = os.pipe()
        os.close(reading)
        # Buffered, Python keeps what it could not write, and complains at each flush.
        ended = program.run("-v", env={"PYTHONUNBUFFERED": ""}, **{where: writing})
        os.close(writing)
        names = [name for name, _ in program.endings()]
        assert len(names) == 500 * round_number, (where, ended, program.events()[-2:])
        assert set(names) == {f"t{n}" for n in range(500)}


def test_a_reader_that_never_reads_costs_no_event(program: Program) -> None:
    program.tasks(*[{"size": 150}] * 2000)  # the console alone would fill the pipe
    reading, writing = os.pipe()
    process = program.start("-v", stderr=writing)
    program.until(
        lambda: program.log.exists() and program.log.read_bytes().count(b"task_completed") == 2000
    )
    while process.poll() is None and os.read(reading, 65536):
        os.close(writing) if writing >= 0 else None
        writing = -1
    assert process.wait(WAIT) == 0
    process.communicate()
    os.close(reading)
    assert len(program.events()) == 2000


def test_a_script_without_a_guard_gets_one_clear_error(tmp_path: Path) -> None:
    script = """
import sys
from cloud_tasks.worker import Worker
def process_task(task_id, data, worker_data):
    return False, None
Worker(process_task, args=sys.argv[1:]).main()
"""
    program = Program(tmp_path, script)
    program.tasks(*[{}] * 5)
    returned, err = program.run("--num-simultaneous-tasks", "2")
    assert returned in (2, 4)
    assert '__name__ == "__main__"' in err
    assert err.count("Traceback") <= 1, err
    assert program.endings() == []


def test_where_home_is_unset_and_the_locale_is_c_it_works(program: Program) -> None:
    (program.folder / "tasks.json").write_text(
        json.dumps([{"task_id": "grün 😀 \ud800", "data": {}}, {"task_id": "x", "data": {}}])
    )
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": ""}
    returned, err = program.run("-v", env=env)
    assert returned == 0, err
    assert "UnicodeEncodeError" not in err
    assert [name for name, _ in program.endings()] == ["grün 😀 \ud800", "x"]


_LOSES_FOLDER = """
import os, sys
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    return False, None

if __name__ == "__main__":
    worker = Worker(process_task, args=sys.argv[1:])
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir("../gone")
    worker.main()
"""


def run_in_no_folder(folder: Path, executor: str) -> tuple[Program, int, str]:
    """Run a program in a working directory that does not exist any more."""
    program = Program(folder, _LOSES_FOLDER)
    program.tasks({}, {}, {})
    tasks = str(folder / "tasks.json")
    args = ("--executor", executor, "--tasks", tasks, "--event-log-file", str(program.log))
    return program, *program.run(*args)


@EXECUTORS
def test_where_the_working_directory_is_gone_it_works(tmp_path: Path, executor: str) -> None:
    program, returned, err = run_in_no_folder(tmp_path, executor)
    assert returned == 0, err
    assert len(program.endings()) == 3


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["--task-file", "{0}/tasks.json"], "events.log"),
        (["--task-file", "tasks.json", "--event-log-file", "{0}/e"], "tasks.json"),
        (["--task-file", "{0}/tasks.json", "--run-dir", "run"], "run"),
    ],
)
def test_a_working_directory_that_is_gone_is_named(
    tmp_path: Path, args: list[str], named: str
) -> None:
    program = Program(tmp_path)
    program.tasks({})
    leave = "import os\nos.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')"
    words = [sys.executable, str(tmp_path / "program.py"), *(a.format(tmp_path) for a in args)]
    done = subprocess.run(
        prepared(leave, words), cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"{named} is relative to the current folder, which has been deleted" in done.stderr
    assert "Traceback" not in done.stderr


@EXECUTORS
def test_a_umask_of_zero_and_optimised_code_are_no_trouble(program: Program, executor: str) -> None:
    assert (
        program.run("--executor", executor, env={"PYTHONHASHSEED": "0", "PYTHONOPTIMIZE": "2"})[0]
        == 0
    )
    assert len(program.endings()) == 3


_ENDS_WORKER = """
import os
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    if task_id == "t1":
        os._exit(7)
    return False, None

if __name__ == "__main__":
    Worker(process_task).main()
"""


def test_inline_a_task_that_ends_the_worker_takes_no_event_of_others_along(tmp_path: Path) -> None:
    program = Program(tmp_path, _ENDS_WORKER)
    program.tasks({}, {}, {})
    assert program.run("--debug")[0] == 7
    assert program.endings() == [("t0", "task_completed")]


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    test = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return not subprocess.run(test, capture_output=True).returncode


@pytest.mark.slow  # the worker tries for 30 s before it gives up
@pytest.mark.skipif(not _can_mount(), reason="no mount namespace: needs root on Linux")
def test_a_disk_that_stays_full_stops_the_intake_and_then_the_worker(program: Program) -> None:
    program.tasks(*[{"size": 1000}] * 20_000)
    small = program.folder / "small"
    small.mkdir()
    copy = program.folder / "copy.log"
    command = (
        f"mount -t tmpfs -o size=64k none {small} && "
        f"{sys.executable} program.py --task-file tasks.json --event-log-file {small}/e.log; "
        f"code=$?; cp {small}/e.log {copy}; exit $code"
    )
    begun = time.monotonic()
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", command],
        cwd=program.folder, env=environment(), capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert time.monotonic() - begun > 29
    assert "tried for 30 s: giving up" in done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    text = copy.read_text()
    assert text.endswith("\n")
    recorded = [json.loads(line) for line in text.splitlines()]
    assert 10 < len(recorded) < 100


def test_a_fifo_that_nobody_reads_is_an_error_at_once(program: Program) -> None:
    os.mkfifo(program.folder / "fifo")
    begun = time.monotonic()
    returned, err = program.run("--event-log-file", "fifo")
    assert returned == 4
    # A log that breaks while the worker runs is tried for 30 s.
    assert time.monotonic() - begun < 30
    assert "tried for" not in err
    assert "no process reads this FIFO" in err
