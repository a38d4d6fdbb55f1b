"""Abort, cancel and shutdown, at every moment."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from contract import deaths

from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.outcome import Aborted, Completed, Outcome
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import AT_ONCE, WAIT, Pool, all_slots_taken, running

pytestmark = pytest.mark.interpreter


def test_a_running_task_can_be_aborted(pool: Pool, tmp_path: Path) -> None:
    pool.needs("isolates_crashes")
    future = pool.submit(tasks.sleeps, started=str(tmp_path / "started"))
    eventually((tmp_path / "started").exists)
    assert pool.executor.abort(future, "enough")
    outcome = future.result(WAIT)
    assert isinstance(outcome, Aborted)
    assert outcome.reason == "enough"
    assert outcome.measures.slot is not None
    pool.still_works()


def test_a_queued_task_can_be_aborted(pool: Pool, tmp_path: Path) -> None:
    pool.needs("isolates_crashes")
    with all_slots_taken(pool, tmp_path):
        future = pool.submit(tasks.returns, value=(False, 1))
        assert pool.executor.abort(future, "not wanted")
        outcome = future.result(WAIT)
    assert isinstance(outcome, Aborted)
    assert (outcome.reason, outcome.measures.slot) == ("not wanted", None)
    pool.still_works()


def test_a_task_may_be_aborted_and_cancelled_while_it_waits(pool: Pool, tmp_path: Path) -> None:
    pool.needs("isolates_crashes")
    with all_slots_taken(pool, tmp_path):
        for _ in range(20):
            future = pool.submit(tasks.returns, value=(False, 1))
            pool.executor.abort(future, "not wanted")
            future.cancel()
            pool.executor.abort(future, "not wanted at all")
    pool.still_works()


def test_a_task_that_is_over_can_not_be_aborted(pool: Pool) -> None:
    pool.needs("background")
    future = pool.submit(tasks.returns, value=(False, 1))
    outcome = future.result(WAIT)
    assert not pool.executor.abort(future, "too late")
    assert future.result() is outcome


def test_the_future_of_somebody_else_can_not_be_aborted(pool: Pool) -> None:
    assert not pool.executor.abort(Future(), "who?")


def test_a_running_task_can_not_be_cancelled(pool: Pool, tmp_path: Path) -> None:
    pool.needs("background")
    with all_slots_taken(pool, tmp_path) as futures:
        assert not any(future.cancel() for future in futures)


@pytest.mark.timeout(300)  # thirty processes, where each task gets a fresh one
def test_a_flood_of_aborts_hits_only_its_tasks(pool: Pool, tmp_path: Path) -> None:
    pool.needs("isolates_crashes")
    futures = [
        pool.submit(deaths.notes_pid, task_id=str(n), folder=str(tmp_path), seconds=0.01)
        for n in range(30)
    ]
    for future in futures[::6]:
        pool.executor.abort(future, "unlucky")
    outcomes = [future.result(WAIT) for future in futures]
    spared = [outcome for n, outcome in enumerate(outcomes) if n % 6]
    assert all(isinstance(outcome, Completed) for outcome in spared), spared
    assert {type(outcome) for outcome in outcomes[::6]} <= {Aborted, Completed}


def test_every_future_is_resolved_though_the_shutdown_comes_amidst_submits(
    new_executor: Callable[[], Executor],
) -> None:
    for _ in range(5):
        futures: list[Future[Outcome]] = []
        with running(new_executor()) as pool:
            pool.needs("background")
            begun = threading.Event()

            def submit_on(
                pool: Pool = pool,
                futures: list[Future[Outcome]] = futures,
                begun: threading.Event = begun,
            ) -> None:
                with contextlib.suppress(RuntimeError):  # it is shut down
                    while True:
                        futures.append(pool.submit(tasks.returns, value=(False, 1)))
                        begun.set()

            thread = threading.Thread(target=submit_on)
            thread.start()
            assert begun.wait(WAIT)
            pool.executor.shutdown()
            thread.join()
        assert {type(future.result(WAIT)) for future in futures} <= {Completed, Aborted}


def test_a_second_shutdown_may_be_shorter(
    new_executor: Callable[[], Executor], tmp_path: Path
) -> None:
    with running(new_executor()) as pool:
        pool.needs("isolates_crashes")
        future = pool.submit(tasks.sleeps, started=str(tmp_path / "started"))
        eventually((tmp_path / "started").exists)
        pool.executor.shutdown(grace=float("inf"), wait=False)
        pool.executor.shutdown(grace=WAIT, wait=False)
        begun = time.monotonic()
        pool.executor.shutdown(reason="hurry")
        assert time.monotonic() - begun < AT_ONCE
    outcome = future.result(0)
    assert isinstance(outcome, Aborted)
    assert outcome.reason == "hurry"


def test_submit_before_start_is_an_error(new_executor: Callable[[], Executor]) -> None:
    with pytest.raises(RuntimeError):
        Pool(new_executor()).submit(tasks.returns, value=(False, 1))


def test_shutdown_before_start_does_nothing(new_executor: Callable[[], Executor]) -> None:
    new_executor().shutdown()


def test_an_executor_can_not_be_started_twice(new_executor: Callable[[], Executor]) -> None:
    with running(new_executor()) as pool, pytest.raises(RuntimeError), running(pool.executor):
        pass


def test_before_wait_is_called_after_outcomes(new_executor: Callable[[], Executor]) -> None:
    paused = threading.Event()
    options = ExecutorOptions(slots=1, before_wait=paused.set)
    with running(new_executor(), options) as pool:
        paused.clear()
        pool.ends(Completed, tasks.returns, value=(False, 1))
        assert paused.wait(WAIT)


def test_a_callback_that_fails_hurts_nobody(pool: Pool) -> None:
    pool.submit(tasks.returns, value=(False, 1)).add_done_callback(lambda _: 1 / 0)
    pool.still_works()
