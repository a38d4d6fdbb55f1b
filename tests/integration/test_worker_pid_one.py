"""A worker that is PID 1, as in a container, reaps the orphans of its tasks and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cloud_tasks.testing import eventually

_UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
_TASKS = 12

#: Tasks leave processes in every way there is; the program's own processes end meanwhile.
_PROGRAM = """
import asyncio, json, os, subprocess, sys, threading, time
from pathlib import Path
import psutil
from cloud_tasks import Worker

HOW = sys.argv[1]
EXIT = [sys.executable, "-S", "-E", "-c", "import sys; sys.exit(int(sys.argv[1]))"]

def ends_later():
    time.sleep(0.3)
    os._exit(0)

def fork_twice(new_session, wait):
    middle = os.fork()
    if middle == 0:
        if new_session:
            os.setsid()
        if os.fork() == 0:
            ends_later()
        os._exit(0)
    if wait:
        os.waitpid(middle, 0)

def process_task(task_id, data, worker_data):
    if data.get("holds"):
        Path(data["holds"]).touch()
        time.sleep(60)
    fork_twice(new_session=False, wait=True)
    fork_twice(new_session=True, wait=True)
    fork_twice(new_session=True, wait=False)
    subprocess.run("sleep 0.3 & exit 0", shell=True, start_new_session=True)
    subprocess.Popen(["sleep", "0.1"], start_new_session=True)
    return False, subprocess.run([*EXIT, "3"]).returncode

def zombies():
    found = []
    for process in psutil.Process(1).children():
        try:
            if process.status() == psutil.STATUS_ZOMBIE and process.pid not in own:
                found.append([process.pid, os.getsid(process.pid)])
        except (psutil.Error, OSError):
            pass
    return found

def zombies_that_stay():
    deadline = time.monotonic() + 20
    while zombies() and time.monotonic() < deadline:
        time.sleep(0.05)
    return zombies()

own = set()
codes = []

def keep(code, **options):
    process = subprocess.Popen([*EXIT, str(code)], **options)
    own.add(process.pid)
    return process

def tasks():
    mine = keep(21, start_new_session=True), keep(22)
    for n in range(int(sys.argv[2])):
        if n == int(sys.argv[2]) // 2 and not HOW.startswith("start,"):
            print("half", json.dumps(zombies_that_stay()))
        codes.append(subprocess.run([*EXIT, "7"]).returncode)
        yield {"task_id": f"t{n}", "data": {}}
    print("generator", [process.wait() for process in mine])

def holding():
    yield {"task_id": "t", "data": {"holds": sys.argv[2]}}

def in_thread(started, go_on):
    mine = keep(31, start_new_session=True), keep(32)
    started.set()
    go_on.wait()
    print("thread", [process.wait() for process in mine])

async def beside_a_loop(worker):
    run = asyncio.ensure_future(worker.start())
    if HOW == "start, with processes of the loop":
        await asyncio.sleep(1)
        mine = keep(41, start_new_session=True), keep(42)
        await run
        print("loop", [process.wait() for process in mine])
    return await run

if __name__ == "__main__":
    assert os.getpid() == 1
    source = holding if sys.argv[2].startswith("/") else tasks
    worker = Worker(process_task, task_source=source, args=sys.argv[3:])
    if source is holding:
        worker.main()
    before = keep(11, start_new_session=True), keep(12)
    started, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=in_thread, args=(started, go_on))
    thread.start()
    started.wait()
    summary = worker.run() if HOW == "run" else asyncio.run(beside_a_loop(worker))
    go_on.set()
    thread.join()
    print("before", [process.wait() for process in before])
    print("runs", sorted(set(codes)))
    print("end", json.dumps(zombies()))
    sys.exit(summary.exit_code)
"""


@pytest.fixture(autouse=True)
def _namespace() -> None:
    try:
        done = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("this platform has no unshare")
    if done.returncode:
        pytest.skip(f"no PID namespace can be made here: {done.stderr.strip()}")


@contextlib.contextmanager
def _launched(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    script = folder / "program.py"
    script.write_text(_PROGRAM)
    options = [
        "--progress",
        "off",
        "--num-simultaneous-tasks",
        "2",
        "--run-dir",
        str(folder / "run"),
    ]
    with subprocess.Popen(
        [*_UNSHARE, sys.executable, str(script), *arguments, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    ) as program:
        yield program


@pytest.mark.parametrize(
    ("how", "executor"),
    [("run", "loky"), ("run", "spawn"), ("run", "forkserver"), ("start", "loky")],
)
def test_orphans_are_reaped_and_no_exit_code_is_stolen(
    tmp_path: Path, how: str, executor: str
) -> None:
    with _launched(tmp_path, how, str(_TASKS), "--executor", executor) as program:
        out, err = program.communicate(timeout=120)
    assert program.returncode == 0, err
    told = dict(line.split(" ", 1) for line in out.splitlines() if " " in line)
    assert json.loads(told["half"]) == []
    assert told["generator"] == "[21, 22]"
    assert told["thread"] == "[31, 32]"
    assert told["before"] == "[11, 12]"
    assert told["runs"] == "[7]"
    assert json.loads(told["end"]) == []


def test_no_exit_code_of_a_process_of_the_event_loop_is_stolen(tmp_path: Path) -> None:
    how = "start, with processes of the loop"
    with _launched(tmp_path, how, str(_TASKS), "--executor", "spawn") as program:
        out, err = program.communicate(timeout=120)
    assert program.returncode == 0, err
    told = dict(line.split(" ", 1) for line in out.splitlines() if " " in line)
    assert (told["loop"], told["thread"], told["before"]) == ("[41, 42]", "[31, 32]", "[11, 12]")
    # Processes that began a session of their own may be the program's now.
    assert all(pid == session for pid, session in json.loads(told["end"]))


@pytest.mark.parametrize("executor", ["loky", "spawn", "forkserver"])
def test_a_stop_signal_ends_it_with_its_code(tmp_path: Path, executor: str) -> None:
    started = tmp_path / "started"
    grace = ["--shutdown-grace-period", "0"]
    with _launched(tmp_path, "run", str(started), "--executor", executor, *grace) as program:
        eventually(started.exists)
        (worker,) = psutil.Process(program.pid).children()
        worker.send_signal(signal.SIGTERM)
        _, err = program.communicate(timeout=60)
    assert program.returncode == 128 + signal.SIGTERM, err
