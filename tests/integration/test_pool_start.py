"""What a child process gets from the program that starts it, alike with every executor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from integration import pool_programs

EXECUTORS = ["loky", "spawn", "forkserver"]

#: Prints what this interpreter was started with, then the same of a task with each executor. Finds
#: the packages by a sys.path that it makes itself.
_FLAGS = """
import sys
sys.path[:0] = sys.argv[1].split(":")
import json
from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.function import specify
from cloud_tasks.registry import load
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

def seen(*arguments):
    return False, [
        repr(sys.flags), sys.warnoptions, sorted(sys._xoptions.items()), __debug__, seen.__doc__,
        sys.__stdout__.write_through,
    ]

if __name__ == "__main__":
    print(json.dumps(json.loads(json.dumps(seen()[1]))))
    for name in sys.argv[2:]:
        executor = load("executor", name)()
        executor.start(specify(seen), WorkerData(), ExecutorOptions(slots=1))
        print(json.dumps(executor.submit(Task("t", {})).result(30).result))
        executor.shutdown()
"""

_OPTIONS = [
    "-O", "-OO -B", "-E", "-s -S", "-I", "-I -O -B", "-u -q -d", "-v", "-b", "-bb",
    "-W error::UserWarning -W ignore::ImportWarning", "-X utf8 -X importtime",
    "-X dev -X faulthandler -W default::UserWarning -bb", "-X frozen_modules=off",
    *(["-P", "-P -E"] if sys.version_info >= (3, 11) else []),
]  # fmt: skip


def _run_flags(folder: Path, options: str, **environment: str) -> list[Any]:
    script = folder / "flags.py"
    script.write_text(_FLAGS)
    places = ":".join(str(Path(path).resolve()) for path in sys.path if path)
    ours = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, *options.split(), str(script), places, *EXECUTORS],
        env={**ours, **environment},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.interpreter
@pytest.mark.parametrize("options", _OPTIONS)
def test_the_interpreters_options_reach_every_child(tmp_path: Path, options: str) -> None:
    mine, *theirs = _run_flags(tmp_path, options)
    assert theirs == [mine] * len(EXECUTORS)


@pytest.mark.interpreter
def test_options_of_the_environment_are_not_doubled(tmp_path: Path) -> None:
    mine, *theirs = _run_flags(
        tmp_path,
        "-X dev -W ignore::ImportWarning -b",
        PYTHONWARNINGS="default::UserWarning,error::BytesWarning",
        PYTHONOPTIMIZE="1",
        PYTHONUNBUFFERED="1",
    )
    assert theirs == [mine] * len(EXECUTORS)
    assert mine[1].count("default::UserWarning") == 1


_SHADOWED = """
def process(task_id, data, worker_data):
    import random
    return False, random.__file__

if __name__ == "__main__":
    executor = start(process)
    print(executor.submit(Task("t", {})).result(30).result)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_modules_of_the_current_folder_shadow_none_of_a_childs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("random", "json", "pickle", "cloud_tasks", "sitecustomized"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(elsewhere)
    shown = pool_programs.run(tmp_path, _SHADOWED, executor).strip()
    assert shown.endswith("random.py")
    assert not shown.startswith(str(tmp_path))


_NO_FOLDER = """
def process(task_id, data, worker_data):
    return False, os.getpid()

if __name__ == "__main__":
    os.mkdir(sys.argv[2])
    os.chdir(sys.argv[2])
    os.rmdir(sys.argv[2])
    executor = start(process)
    print(executor.submit(Task("t", {})).result(30).result)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_current_folder_that_was_deleted_stops_no_child(tmp_path: Path, executor: str) -> None:
    printed = pool_programs.run(tmp_path, _NO_FOLDER, executor, str(tmp_path / "gone"))
    assert printed.strip().isdigit()


_DAEMONIC = """
import multiprocessing

def process(task_id, data, worker_data):
    return False, type(data["point"]).__name__

class Point: pass

def work():
    executor = start(process)
    print(executor.submit(Task("t", {"point": Point()})).result(30).result, flush=True)
    executor.shutdown()

if __name__ == "__main__":
    for method in ("spawn", "fork"):
        home = multiprocessing.get_context(method).Process(target=work, daemon=True)
        home.start()
        home.join()
        assert home.exitcode == 0, home.exitcode
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_daemonic_process_can_be_the_workers_home(tmp_path: Path, executor: str) -> None:
    assert pool_programs.run(tmp_path, _DAEMONIC, executor).split() == ["Point", "Point"]


_PROXIES = """
import multiprocessing
from multiprocessing.managers import SyncManager

def process(task_id, data, worker_data):
    shared = data.get("shared", worker_data.shared)
    shared[task_id] = 1
    lines = Path("/proc/self/environ").read_bytes() + Path("/proc/self/cmdline").read_bytes()
    key = multiprocessing.current_process().authkey
    return False, [bytes(key) in lines, key.hex().encode() in lines]

if __name__ == "__main__":
    with multiprocessing.Manager() as usual, SyncManager(authkey=b"of its own") as other:
        for manager in (usual, other):
            shared, more = manager.dict(), manager.dict()
            executor = load("executor", sys.argv[1])()
            worker_data = WorkerData()
            worker_data.shared = shared
            executor.start(specify(process), worker_data, ExecutorOptions(slots=1))
            for data in ({}, {"shared": more}):
                print(executor.submit(Task("t", data)).result(30).result)
            executor.shutdown()
            print(dict(shared), dict(more))
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_proxies_of_a_manager_work_in_tasks(tmp_path: Path, executor: str) -> None:
    printed = pool_programs.run(tmp_path, _PROXIES, executor)
    assert printed.count("{'t': 1} {'t': 1}") == 2, printed
    assert printed.count("[False, False]") == 4, printed  # nobody else can read the key


_NO_STREAMS = """
def process(task_id, data, worker_data):
    print("to nobody", flush=True)
    os.write(1, b"to nobody")
    return False, os.getpid()

if __name__ == "__main__":
    executor = start(process, slots=1)
    pids = {executor.submit(Task("t", {})).result(30).result for _ in range(3)}
    executor.shutdown()
    Path(sys.argv[2]).write_text(str(len(pids)))
"""


@pytest.mark.parametrize("streams", [">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("executor", "processes"), [("loky", 1), ("spawn", 3), ("forkserver", 3)])
def test_closed_standard_streams_stop_no_child(
    tmp_path: Path, executor: str, processes: int, streams: str
) -> None:
    source = pool_programs.PRELUDE + _NO_STREAMS
    (tmp_path / "program.py").write_text(source)
    shown = tmp_path / "shown"
    command = f'"$0" program.py {executor} "$1" {streams}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, str(shown)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        timeout=50,
    )
    assert done.returncode == 0
    assert shown.read_text() == str(processes)


_SITE = """
import atexit, os
atexit.register(lambda: open(os.path.join({folder!r}, str(os.getpid())), "w").close())
"""
_ENDS = """
import threading

def process(task_id, data, worker_data):
    print(os.getpid(), flush=True)
    if task_id == "exits":
        sys.exit(3)
    if task_id == "threads":
        threading.Thread(target=time.sleep, args=(0.01,)).start()
    return False, None

if __name__ == "__main__":
    executor = start(process, slots=1)
    for name in ("returns", "exits", "threads"):
        executor.submit(Task(name, {})).result(30)
    executor.shutdown(grace=20)
"""


@pytest.mark.interpreter
@pytest.mark.parametrize("executor", EXECUTORS)
def test_exit_functions_of_the_interpreters_start_run_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    ended = tmp_path / "ended"
    site = tmp_path / "site"
    for folder in (ended, site):
        folder.mkdir()
    (site / "sitecustomize.py").write_text(_SITE.format(folder=str(ended)))
    monkeypatch.syspath_prepend(str(site))
    pids = set(pool_programs.run(tmp_path, _ENDS, executor).split())
    assert pids
    assert pids <= {file.name for file in ended.iterdir()}
