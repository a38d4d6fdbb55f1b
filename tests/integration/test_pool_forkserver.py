"""Processes that are forked from one that has imported the user's module."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.forkserver import ForkserverExecutor
from cloud_tasks.executors.function import specify
from cloud_tasks.executors.pool.poller import Poller
from cloud_tasks.outcome import Completed, Exited, TimedOut
from cloud_tasks.system import processes
from cloud_tasks.task import Task
from cloud_tasks.testing import eventually
from cloud_tasks.testing.executor_harness import WAIT
from cloud_tasks.worker_data import WorkerData

pytestmark = pytest.mark.interpreter

Start = Callable[..., ForkserverExecutor]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A maker of executors for the function ``process`` of a module with a given text."""
    started: list[ForkserverExecutor] = []
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(module: str, slots: int = 1) -> ForkserverExecutor:
        name = f"module_of_{tmp_path.name}_{len(started)}"
        (tmp_path / f"{name}.py").write_text(f"import os\nPARENT = {os.getpid()}\n{module}")
        executor = ForkserverExecutor()
        started.append(executor)
        options = ExecutorOptions(slots=slots)
        executor.start(specify(__import__(name).process), WorkerData(), options)
        return executor

    yield make
    for executor in started:
        executor.shutdown()


def results(executor: ForkserverExecutor, n: int, **data: Any) -> list[Any]:
    futures = [executor.submit(Task(str(k), {"k": k, **data})) for k in range(n)]
    outcomes = [future.result(WAIT) for future in futures]
    assert all(isinstance(outcome, Completed) for outcome in outcomes), outcomes
    return [outcome.result for outcome in outcomes if isinstance(outcome, Completed)]


_COUNTS = """
CALLS = []
IMPORTED_BY = os.getpid()

def process(task_id, data, worker_data):
    CALLS.append(task_id)
    return False, [IMPORTED_BY, os.getpid(), os.getppid(), len(CALLS)]
"""


def test_the_module_is_imported_once_and_each_task_has_a_process_of_its_own(start: Start) -> None:
    seen = results(start(_COUNTS), 20)
    imported_by = {importer for importer, _, _, _ in seen}
    parents = {parent for _, _, parent, _ in seen}
    assert len(imported_by) == 1
    assert parents == imported_by
    assert len({pid for _, pid, _, _ in seen}) == 20
    assert {calls for _, _, _, calls in seen} == {1}


_RANDOM = """
import random, numpy

def process(task_id, data, worker_data):
    return False, [random.random(), float(numpy.random.random())]
"""


def test_no_two_tasks_draw_the_same_random_numbers(start: Start) -> None:
    pytest.importorskip("numpy", reason="numpy is not installed")
    for numbers in zip(*results(start(_RANDOM), 10), strict=True):
        assert len(set(numbers)) == 10


_WAITS = """
import pathlib, time

def process(task_id, data, worker_data):
    pathlib.Path(data["folder"], task_id).write_text(f"{os.getpid()} {os.getppid()}")
    while not pathlib.Path(data["folder"], "release").exists():
        time.sleep(0.01)
    return False, "released"
"""


def family_of(file: Path) -> list[int]:
    eventually(lambda: file.exists() and file.read_text(), WAIT)
    return [int(word) for word in file.read_text().split()]


@pytest.mark.parametrize("order", ["as they come", "reversed"])
def test_a_lost_zygote_takes_no_task_along(
    start: Start, tmp_path: Path, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if order == "reversed":  # the death of the zygote before the end of its socket
        wait = Poller.wait
        monkeypatch.setattr(Poller, "wait", lambda poller, s: wait(poller, s)[::-1])
    executor = start(_WAITS)
    futures = [executor.submit(Task(str(n), {"folder": str(tmp_path)})) for n in range(3)]
    child, zygote = family_of(tmp_path / "0")
    os.kill(zygote, signal.SIGKILL)
    eventually(lambda: not processes.runs(zygote), WAIT)
    (tmp_path / "release").touch()
    assert all(isinstance(future.result(WAIT), Completed) for future in futures)
    eventually(lambda: not processes.runs(child), WAIT)


def test_how_a_process_ended_is_unknown_once_its_zygote_is_lost(
    start: Start, tmp_path: Path
) -> None:
    executor = start(_WAITS)
    lost = executor.submit(Task("lost", {"folder": str(tmp_path)}))
    child, zygote = family_of(tmp_path / "lost")
    os.kill(zygote, signal.SIGKILL)
    eventually(lambda: not processes.runs(zygote), WAIT)
    os.kill(child, signal.SIGKILL)
    outcome = lost.result(WAIT)
    assert isinstance(outcome, Exited)
    assert (outcome.exit_code, outcome.hint) == (None, "its zygote was lost")


def test_a_limit_holds_after_the_zygote_is_lost(start: Start, tmp_path: Path) -> None:
    executor = start(_WAITS)
    # Enough to kill the zygote first; where it is not, the limit holds all the same.
    late = executor.submit(Task("late", {"folder": str(tmp_path)}), max_runtime=1.0)
    child, zygote = family_of(tmp_path / "late")
    os.kill(zygote, signal.SIGKILL)
    assert isinstance(late.result(WAIT), TimedOut)
    eventually(lambda: not processes.runs(child), WAIT)


def test_a_stop_lets_a_task_finish_and_leaves_no_zygote(start: Start, tmp_path: Path) -> None:
    executor = start(_WAITS, slots=2)
    futures = [executor.submit(Task(str(n), {"folder": str(tmp_path)})) for n in range(2)]
    families = [family_of(tmp_path / str(n)) for n in range(2)]
    executor.shutdown(grace=WAIT, wait=False)
    (tmp_path / "release").touch()
    assert all(isinstance(future.result(WAIT), Completed) for future in futures)
    executor.shutdown()
    assert not [pid for family in families for pid in family if psutil.pid_exists(pid)]


_DAEMON = """
import subprocess, sys

FORK_TWICE = '''
import os, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True); os.close(1); time.sleep(60)
'''

def process(task_id, data, worker_data):
    started = subprocess.run([sys.executable, "-S", "-c", FORK_TWICE], stdout=subprocess.PIPE)
    if data["crash"]:
        open(data["note"], "wb").write(started.stdout)
        os._exit(3)
    return False, int(started.stdout)
"""


def test_a_daemon_that_a_task_left_ends_with_it(start: Start, tmp_path: Path) -> None:
    executor = start(_DAEMON)
    (left,) = results(executor, 1, crash=False)
    assert isinstance(left, int)
    eventually(lambda: not processes.runs(left), WAIT)
    note = tmp_path / "note"
    crashed = executor.submit(Task("t", {"crash": True, "note": str(note)})).result(WAIT)
    assert isinstance(crashed, Exited)
    eventually(lambda: not processes.runs(int(note.read_text())), WAIT)


_AT_EXIT = """
import atexit, pathlib
NOTES = pathlib.Path(__file__).parent / "notes"

def note(word):
    with NOTES.open("a") as file:
        file.write(f"{word} {os.getpid()}\\n")

if os.getpid() != PARENT:
    atexit.register(note, "import")

def process(task_id, data, worker_data):
    atexit.register(note, "task")
    return False, os.getpid()
"""


def test_exit_work_is_done_by_the_process_that_registered_it(start: Start, tmp_path: Path) -> None:
    executor = start(_AT_EXIT)
    pids = results(executor, 3)
    executor.shutdown()
    notes = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    assert sorted(pid for word, pid in notes if word == "task") == sorted(map(str, pids))
    (zygote,) = [pid for word, pid in notes if word == "import"]
    assert zygote not in map(str, pids)


_THREAD = """
import threading
if os.getpid() != PARENT:
    threading.Thread(target=threading.Event().wait, name="helper", daemon=True).start()

def process(task_id, data, worker_data):
    return False, threading.active_count()
"""


def test_a_module_that_starts_a_thread_is_told_of_once(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    executor = start(_THREAD, slots=2)
    assert results(executor, 20) == [1] * 20
    executor.shutdown()
    said = [record.getMessage() for record in caplog.records if "thread" in record.getMessage()]
    assert len(said) == 1
    assert "started a thread (helper)" in said[0]
    assert "--executor spawn" in said[0]
