"""What the adapter of foreign pools says of what it can't do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from contract import deaths

from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.futures import FuturesExecutor
from cloud_tasks.outcome import Aborted, Exited, TimedOut
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import Pool, running


@pytest.fixture
def pool() -> Iterator[Pool]:
    with (
        ThreadPoolExecutor(1) as threads,
        running(FuturesExecutor(threads), ExecutorOptions(slots=2)) as pool,
    ):
        yield pool


def test_a_time_limit_is_told_at_its_moment_though_the_task_goes_on(
    pool: Pool, tmp_path: Path
) -> None:
    started, release = tmp_path / "started", tmp_path / "release"
    future = pool.submit(tasks.holds, started=str(started), release=str(release), max_runtime=0.3)
    outcome = future.result(3)
    assert isinstance(outcome, TimedOut)
    assert not release.exists()
    release.touch()
    pool.still_works()


def test_a_task_that_the_pool_has_not_begun_can_be_aborted(pool: Pool, tmp_path: Path) -> None:
    started, release = tmp_path / "started", tmp_path / "release"
    running_one = pool.submit(tasks.holds, started=str(started), release=str(release))
    eventually(started.exists)
    waiting = pool.submit(tasks.returns, value=(False, 1))
    assert pool.executor.abort(waiting, "not wanted")
    assert isinstance(waiting.result(3), Aborted)
    assert not pool.executor.abort(running_one, "can't")
    release.touch()
    pool.still_works()


def test_a_pool_that_breaks_is_told_once_and_nobody_waits_for_ever() -> None:
    complaints: list[ExecutorBrokenError] = []
    told = threading.Event()

    def broken(error: ExecutorBrokenError) -> None:
        complaints.append(error)
        told.set()

    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes,
        running(FuturesExecutor(processes), ExecutorOptions(slots=2, on_broken=broken)) as pool,
    ):
        culprit = pool.submit(deaths.os_exit, code=9)
        others = [pool.submit(tasks.returns, value=(False, 1)) for _ in range(3)]
        assert isinstance(culprit.result(20), Exited)
        assert {type(future.result(20)) for future in others} <= {Exited, Aborted}
        assert told.wait(20)
    assert len(complaints) == 1
