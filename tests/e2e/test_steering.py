"""A run as its user steers it: stopped, gone on with, its failures listed and run again."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from e2e.program import Program, environment

SCRIPT = """
import sys, time
from pathlib import Path
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    print("working on", task_id)
    if data.get("wait") and not Path("release").exists():
        Path("started").touch()
        while not worker_data.received_shutdown_request:
            time.sleep(0.005)
        return False, "stopped early"
    if data.get("broken") and not Path("mended").exists():
        raise ValueError(f"bad header in img_{data['n']}")
    return False, data["n"]

if __name__ == "__main__":
    Worker(process_task, args=sys.argv[1:]).main()
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    program = Program(tmp_path, SCRIPT)
    program.log = tmp_path / "run" / "events.jsonl"
    return program


def cloud_tasks(program: Program, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloud_tasks", *args],
        cwd=program.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def again(program: Program, command: str) -> tuple[int, str]:
    """Run a command line that was suggested, as a person would who pastes it."""
    words = shlex.split(command)
    assert words[:2] == [Path(sys.executable).name, "program.py"]
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=program.folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=40,
        check=False,
    )
    return done.returncode, done.stderr


def suggested(said: str, label: str) -> str:
    (line,) = [line for line in said.splitlines() if line.strip().startswith(label)]
    return line.partition(label)[2].strip()


def test_a_stopped_run_goes_on_by_the_command_that_it_names(program: Program) -> None:
    items = [{"n": n} for n in range(20)]
    program.tasks(*items[:10], {"n": 10, "wait": True}, *items[11:])
    program.start("--run-dir", "run")
    program.until("started")
    program.signal(signal.SIGINT)
    code, said = program.end()
    assert code == 130
    assert "stopping: 1 running task may finish within 30 s (Ctrl-C again kills it now)" in said
    assert "not started about 9" in said
    code, said = again(program, suggested(said, "go on with:"))
    assert code == 0
    assert "done 11 · failed 0 · to run 9" in said
    assert Counter(event["task_id"] for event in program.events()) == {
        f"t{n}": 1 for n in range(20)
    }


def test_failures_are_listed_written_and_run_again(program: Program) -> None:
    program.tasks(*({"n": n, "broken": n % 2 == 1} for n in range(6)))
    program.start("--run-dir", "run", "--task-logs")
    code, said = program.end()
    assert code == 1
    assert "cloud_tasks failures run" in said

    listed = cloud_tasks(program, "failures", "run")
    assert "ValueError: bad header in img_#" in listed.stdout
    written = cloud_tasks(program, "failures", "run", "-o", "again.jsonl")
    assert written.returncode == 0, written.stderr
    entries = map(json.loads, (program.folder / "again.jsonl").read_text().splitlines())
    assert [entry["task_id"] for entry in entries] == ["t1", "t3", "t5"]

    logged = cloud_tasks(program, "logs", "run", "t3")
    assert logged.stdout == "working on t3\n"

    (program.folder / "mended").touch()
    code, said = again(
        program,
        f"{Path(sys.executable).name} program.py --task-file tasks.json --run-dir run "
        "--resume failed",
    )
    assert code == 0
    assert "done 3 · failed 3 (run again) · to run 3" in said
    assert "no task has failed" in cloud_tasks(program, "failures", "run").stdout


def test_the_report_of_a_run_is_written_into_its_directory(program: Program) -> None:
    program.tasks(*({"n": n} for n in range(5)))
    program.start("--run-dir", "run")
    assert program.end()[0] == 0
    told = cloud_tasks(program, "report", "run")
    assert told.returncode == 0, told.stderr
    assert (program.folder / "run" / "report.html").stat().st_size < 2**20


def test_one_task_runs_alone(program: Program) -> None:
    program.tasks(*({"n": n} for n in range(5)))
    program.start("--run-dir", "run", "--task-id", "t3", "--debug")
    assert program.end()[0] == 0
    assert [event["result"] for event in program.events()] == [3]


def test_too_many_failures_end_the_run_with_a_code_of_their_own(program: Program) -> None:
    program.tasks(*({"n": n, "broken": True} for n in range(200)))
    program.start("--run-dir", "run", "--max-failures", "2%")
    code, said = program.end()
    assert code == 3
    assert "stopped: too many tasks failed (--max-failures)" in said
    assert "--resume" in suggested(said, "go on with:")


def test_the_commands_find_an_event_log_outside_of_the_run_directory(program: Program) -> None:
    program.log = program.folder / "other.log"
    program.tasks({"n": 0}, {"n": 1, "broken": True})
    program.start("--run-dir", "run", "--event-log-file", "other.log", "--task-logs")
    code, said = program.end()
    assert (code, len(program.events())) == (1, 2)
    assert "cloud_tasks failures run" in said
    assert "bad header in img_#" in cloud_tasks(program, "failures", "run").stdout
    assert cloud_tasks(program, "logs", "run", "t1").stdout == "working on t1\n"
    assert cloud_tasks(program, "report", "run").returncode == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nobody is killed here")
def test_a_crash_of_a_task_with_an_odd_name_is_told_with_commands_that_work(
    tmp_path: Path,
) -> None:
    script = """
import os, sys
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    print("working on", task_id)
    if not worker_data.args.debug:
        os.kill(os.getpid(), 9)
    return False, None

if __name__ == "__main__":
    Worker(process_task, args=sys.argv[1:]).main()
"""
    program = Program(tmp_path, script)
    (tmp_path / "tasks.json").write_text(json.dumps([{"task_id": "-x 'y'", "data": {}}]))
    program.start("--run-dir=-run", "--task-logs")
    code, said = program.end()
    assert code == 1
    (line,) = [line for line in said.splitlines() if "cloud_tasks logs" in line]
    words = shlex.split(line.partition("see")[2])
    assert words[:2] == ["cloud_tasks", "logs"]
    shown = cloud_tasks(program, *words[1:])
    assert shown.stdout == "working on -x 'y'\n", shown.stderr
    assert again(program, suggested(said, "run it alone"))[0] == 0
