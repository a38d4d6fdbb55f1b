"""What only ``inline`` can do, and how it tells what it can't."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.function import specify
from cloud_tasks.executors.inline import InlineExecutor
from cloud_tasks.outcome import Aborted, Completed, Outcome, Raised, TimedOut
from cloud_tasks.task import Task
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import Pool, running
from cloud_tasks.worker_data import WorkerData

pytestmark = pytest.mark.interpreter


@pytest.fixture
def pool() -> Iterator[Pool]:
    with running(InlineExecutor()) as pool:
        yield pool


def once(function: Any) -> Outcome:
    """Run a function of any kind in an executor of its own."""
    executor = InlineExecutor()
    executor.start(specify(function), WorkerData(), ExecutorOptions())
    try:
        return executor.submit(Task("t", {})).result(0)
    finally:
        executor.shutdown()


def test_a_task_runs_in_this_thread_before_submit_returns() -> None:
    seen: list[object] = []
    once(lambda task_id, data, worker_data: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()]


def test_a_sleep_over_the_limit_is_interrupted(pool: Pool) -> None:
    began = time.monotonic()
    outcome = pool.ends(TimedOut, tasks.sleeps, max_runtime=0.2)
    assert 0.2 <= (outcome.measures.run_time or 0) <= time.monotonic() - began
    pool.still_works()


def test_a_task_can_be_aborted_from_another_thread(pool: Pool, tmp_path: Path) -> None:
    executor, started = pool.executor, tmp_path / "started"

    def shut_down() -> None:
        eventually(started.exists)
        executor.shutdown(reason="enough")

    thread = threading.Thread(target=shut_down)
    thread.start()
    outcome = pool.ends(Aborted, tasks.sleeps, started=str(started))
    thread.join()
    assert outcome.reason == "enough"


def test_a_task_may_run_an_event_loop_inside_ours() -> None:
    async def nap() -> int:
        return 5

    async def worker() -> Outcome:
        return once(lambda task_id, data, worker_data: (False, asyncio.run(nap())))

    outcome = asyncio.run(worker())
    assert isinstance(outcome, Completed), outcome
    assert outcome.result == 5


def test_what_a_task_changes_of_this_process_is_put_back() -> None:
    before = Path.cwd()

    def moves(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        os.chdir("/")
        os.environ["TEST_INLINE"] = "1"
        return False, None

    once(moves)
    assert Path.cwd() == before
    assert "TEST_INLINE" not in os.environ


def test_records_of_a_task_know_it_and_later_ones_do_not(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test_inline")
    once(lambda task_id, data, worker_data: logger.warning("inside"))
    logger.warning("outside")
    assert [vars(record).get("task_id") for record in caplog.records] == ["t", None]
    assert vars(caplog.records[0])["slot"] == 0


def test_a_task_that_somebody_debugs_when_its_time_is_over_has_all_the_time(pool: Pool) -> None:
    outcome = pool.ends(Completed, is_debugged, max_runtime=0.1)
    assert outcome.result == "done"


def is_debugged(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    before = sys.gettrace()
    sys.settrace(lambda *_: None)
    time.sleep(0.3)
    sys.settrace(before)
    time.sleep(1.5)  # longer than until the alarm goes off again
    return False, "done"


def test_a_debugger_without_a_terminal_leaves_the_outcome_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)  # pytest -s may well have one
    executor = InlineExecutor()
    executor.start(specify(fails), WorkerData(), ExecutorOptions(post_mortem=True))
    outcomes = [executor.submit(Task(f"t{n}", {})).result(0) for n in range(2)]
    executor.shutdown()
    assert all(isinstance(outcome, Raised) for outcome in outcomes)
    assert sum("needs a terminal" in text for text in caplog.messages) == 1


def fails(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    raise ValueError(task_id)
