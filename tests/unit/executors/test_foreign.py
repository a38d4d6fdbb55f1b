"""What the adapter of foreign pools says of what it can't do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from contract import deaths

from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.foreign import FuturesExecutor
from cloud_tasks.outcome import Aborted, Completed, Exited, TimedOut
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import Pool, running

pytestmark = pytest.mark.interpreter


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
    outcome = future.result(30)
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
    assert isinstance(waiting.result(30), Aborted)
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


class Hesitant(ThreadPoolExecutor):
    """Takes its second task only when it is let."""

    def __init__(self) -> None:
        super().__init__(1)
        self.asked, self.let = threading.Event(), threading.Event()
        self._is_first = True

    def submit(self, *arguments: Any, **keywords: Any) -> Future[Any]:
        if not self._is_first:
            self.asked.set()
            self.let.wait(30)
        self._is_first = False
        return super().submit(*arguments, **keywords)


def test_a_shutdown_and_an_abort_do_not_wait_for_a_pool_that_hesitates(tmp_path: Path) -> None:
    started, release = tmp_path / "started", tmp_path / "release"
    with (
        Hesitant() as threads,
        running(FuturesExecutor(threads), ExecutorOptions(slots=1)) as pool,
    ):
        first = pool.submit(tasks.holds, started=str(started), release=str(release))
        eventually(started.exists)
        second = pool.submit(tasks.returns, value=(False, 2))
        release.touch()
        # The thread that has the first outcome hands over the second task before it tells.
        assert threads.asked.wait(30)
        assert not pool.executor.abort(second, "it is on its way")
        pool.executor.shutdown()
        assert isinstance(first.result(0), Completed)
        assert isinstance(second.result(0), Aborted)
        threads.let.set()
