"""However a task's process ends, it is told rightly and nobody else is touched."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract import deaths

from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.common.call import UserFunction
from cloud_tasks.outcome import Completed, Exited, OverMemory, TimedOut
from cloud_tasks.system import processes
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import AT_ONCE, WAIT, Pool, running

pytestmark = pytest.mark.interpreter

MB = 2**20


@pytest.fixture(autouse=True)
def neighbour(pool: Pool, tmp_path: Path) -> Any:
    """A task that runs from before to after each test here, and completes."""
    pool.needs("isolates_crashes")
    started, release = tmp_path / "neighbour-started", tmp_path / "neighbour-release"
    future = pool.submit(tasks.holds, started=str(started), release=str(release))
    eventually(started.exists)
    yield
    release.touch()
    assert isinstance(future.result(WAIT), Completed)
    pool.still_works()


@pytest.mark.parametrize("code", [0, 9])
def test_os_exit_is_an_exit_with_that_code(pool: Pool, code: int) -> None:
    assert pool.ends(Exited, deaths.os_exit, code=code).exit_code == code


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT", "SIGBUS", "SIGTERM"])
def test_a_signal_is_an_exit_with_its_negative_number(pool: Pool, name: str) -> None:
    number = int(signal.Signals[name])
    outcome = pool.ends(Exited, deaths.killed_by, signal=number)
    assert outcome.exit_code == -number
    assert (outcome.measures.elapsed_time or 99) < AT_ONCE


def test_sys_exit_with_a_thread_that_runs_on_keeps_its_code(pool: Pool) -> None:
    assert pool.ends(Exited, deaths.sys_exit_with_thread).exit_code == 7


@pytest.mark.parametrize(
    "function",
    [
        tasks.sleeps,
        deaths.python_loop,
        deaths.long_c_call,
        deaths.ignores_sigterm,
        deaths.swallows_everything,
    ],
    ids=lambda function: function.__name__,
)
def test_nothing_outlives_the_time_limit(pool: Pool, function: UserFunction) -> None:
    outcome = pool.ends(TimedOut, function, max_runtime=0.3)
    assert 0.3 <= (outcome.measures.run_time or 0) < AT_ONCE


def test_a_stopped_process_is_ended_at_the_limit(pool: Pool) -> None:
    pool.ends(TimedOut, deaths.killed_by, signal=int(signal.SIGSTOP), max_runtime=0.3)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_jump_of_the_wall_clock_does_not_move_the_limit(pool: Pool, hours: int) -> None:
    begun = time.monotonic()
    pool.ends(TimedOut, deaths.sets_clock, by=3600 * hours, max_runtime=0.3)
    assert 0.3 <= time.monotonic() - begun < AT_ONCE


def test_a_task_that_spoils_the_clock_does_not_free_the_next_one_from_its_limit(
    pool: Pool,
) -> None:
    pool.ends(Completed, deaths.sets_monotonic_clock)
    outcome = pool.ends(TimedOut, tasks.sleeps, max_runtime=0.3)
    assert 0.3 <= (outcome.measures.run_time or 0) < AT_ONCE


def test_of_a_forked_task_only_the_original_answers(pool: Pool) -> None:
    outcomes = [pool.ends(Completed, deaths.forks_and_returns) for _ in range(3)]
    assert [outcome.result for outcome in outcomes] == [{"original": True}] * 3


def test_an_exception_in_a_forked_copy_is_not_the_tasks(pool: Pool) -> None:
    assert pool.ends(Completed, deaths.forks_and_raises_in_copy).result == "original"


def test_a_forked_copy_that_lives_on_does_not_hide_the_death(pool: Pool, tmp_path: Path) -> None:
    begun = time.monotonic()
    outcome = pool.ends(Exited, deaths.dies_before_its_fork, pids=str(tmp_path / "pids"))
    assert outcome.exit_code == 3
    assert time.monotonic() - begun < AT_ONCE
    copy = int((tmp_path / "pids").read_text())
    # A zombie is as good as gone: its parent may be nobody we know.
    eventually(lambda: not processes.runs(copy))


@pytest.fixture(params=[deaths.uses_memory, deaths.uses_memory_below], ids=["itself", "below it"])
def hoarder(request: pytest.FixtureRequest) -> Any:
    """A task that takes memory, itself or in a subprocess."""
    return request.param


def test_a_task_over_the_memory_limit_is_ended_and_told(
    new_executor: Callable[[], Executor], hoarder: UserFunction, tmp_path: Path
) -> None:
    options = ExecutorOptions(slots=2, memory_limit=150 * MB)
    with running(new_executor(), options) as pool:
        pool.needs("enforces_memory")
        started, release = tmp_path / "started", tmp_path / "release"
        innocent = pool.submit(tasks.holds, started=str(started), release=str(release))
        eventually(started.exists)
        outcome = pool.ends(OverMemory, hoarder, size=250 * MB)
        release.touch()
        assert isinstance(innocent.result(WAIT), Completed)
    assert outcome.limit == 150 * MB
    assert 150 * MB < outcome.used < 400 * MB


def test_a_task_under_the_memory_limit_is_left_alone(
    new_executor: Callable[[], Executor],
) -> None:
    with running(new_executor(), ExecutorOptions(slots=1, memory_limit=500 * MB)) as pool:
        pool.needs("enforces_memory")
        # Time for ten measurements.
        pool.ends(TimedOut, deaths.uses_memory, size=100 * MB, max_runtime=1.0)
