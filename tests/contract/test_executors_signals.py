"""A stop signal for all processes is the worker's business; one for a single process ends that."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract import signals

from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.outcome import Aborted, Completed, Exited
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import WAIT, Pool, running


def slow(value: Any) -> Any:
    """Return *value* as a parameter for ``tox -e full`` only: each of these takes seconds.

    A signal is judged 2 s after it came, and its outcome told up to 2 s later.
    """
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture
def stopping(new_executor: Callable[[], Executor]) -> Iterator[Pool]:
    """A pool that a test may ask to stop, with one slot."""
    with running(new_executor(), ExecutorOptions(slots=1)) as pool:
        pool.needs("isolates_crashes")
        yield pool


class Held:
    """A task that runs, and goes on when it is released."""

    def __init__(self, pool: Pool, folder: Path, **data: Any) -> None:
        started = folder / "started"
        self._release = folder / "release"
        self.future = pool.submit(
            signals.holds, started=str(started), release=str(self._release), **data
        )
        eventually(started.exists)
        self.pid = int(started.read_text())

    def release(self) -> Any:
        self._release.touch()
        return self.future.result(WAIT)


@pytest.mark.parametrize("number", [signal.SIGTERM, slow(signal.SIGHUP)])
def test_a_task_goes_on_when_the_worker_is_stopping_too(
    stopping: Pool, tmp_path: Path, number: int
) -> None:
    task = Held(stopping, tmp_path, end="return")
    stopping.executor.request_shutdown()
    os.kill(task.pid, number)
    outcome = task.release()
    assert isinstance(outcome, Completed), outcome
    assert outcome.result == "went on"


@pytest.mark.parametrize("end", ["raise", "exit", "os._exit"])
def test_a_task_that_fails_of_the_signal_is_handed_back(
    stopping: Pool, tmp_path: Path, end: str
) -> None:
    task = Held(stopping, tmp_path, end=end)
    stopping.executor.request_shutdown()
    os.kill(task.pid, signal.SIGTERM)
    # The handler runs before the loop of the task notices its release.
    assert isinstance(task.release(), Aborted)


@pytest.mark.interpreter
def test_a_task_that_dies_of_the_signal_is_handed_back(stopping: Pool, tmp_path: Path) -> None:
    task = Held(stopping, tmp_path, end="return", default=True)
    stopping.executor.request_shutdown()
    os.kill(task.pid, signal.SIGTERM)
    outcome = task.future.result(WAIT)
    assert isinstance(outcome, Aborted)
    assert (outcome.measures.run_time or 0) > 0


def test_a_task_that_fails_by_itself_while_the_worker_stops_has_failed(
    stopping: Pool, tmp_path: Path
) -> None:
    task = Held(stopping, tmp_path, end="os._exit")
    stopping.executor.request_shutdown()
    outcome = task.release()
    assert isinstance(outcome, Exited)
    assert outcome.exit_code == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, slow(signal.SIGHUP)])
def test_a_signal_for_one_process_ends_its_task_alone(
    pool: Pool, tmp_path: Path, number: int
) -> None:
    pool.needs("isolates_crashes")
    victim = Held(pool, tmp_path, end="return")
    os.kill(victim.pid, number)
    outcome = victim.future.result(WAIT)
    assert isinstance(outcome, Exited), outcome
    assert outcome.exit_code == -number
    pool.still_works()


def test_a_handler_of_the_tasks_own_works(pool: Pool) -> None:
    pool.needs("isolates_crashes")
    assert pool.ends(Completed, signals.has_own_handler).result == [signal.SIGTERM]
    # The handler of a task is gone with it: else the signal would not end this one.
    outcome = pool.run(tasks.returns, value=(False, 1))
    assert isinstance(outcome, Completed)


@pytest.mark.parametrize("end", [0, slow(1), slow("raise")])
def test_a_task_that_gives_up_in_a_handler_of_its_own_is_handed_back(
    stopping: Pool, tmp_path: Path, end: object
) -> None:
    started = tmp_path / "started"
    future = stopping.submit(signals.gives_up_at_sigterm, started=str(started), end=end)
    eventually(started.exists)
    stopping.executor.request_shutdown()
    os.kill(int(started.read_text()), signal.SIGTERM)
    assert isinstance(future.result(WAIT), Aborted)


@pytest.mark.interpreter
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("method", ["fork", slow("spawn")])
def test_processes_of_a_task_die_of_sigterm_as_ever(
    stopping: Pool, asked: bool, method: str
) -> None:
    if asked:
        stopping.executor.request_shutdown()
    times = 20 if method == "fork" else 1
    outcome = stopping.ends(Completed, signals.terminates_helpers, times=times, method=method)
    assert outcome.result == [-signal.SIGTERM]
