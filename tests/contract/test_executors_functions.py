"""Whatever function a user has, and whatever data, gets to where the tasks run."""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Callable
from datetime import date

import pytest
from contract import functions

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.executors.base import Executor
from cloud_tasks.executors.function import specify
from cloud_tasks.outcome import Completed, Raised
from cloud_tasks.task import Task
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import WAIT, Pool, running
from cloud_tasks.worker_data import WorkerData

pytestmark = pytest.mark.interpreter


@pytest.fixture
def sends(kind: str) -> None:
    if kind in ("inline", "threads adapted"):
        pytest.skip(f"{kind}: tasks run in this process, nothing is sent")


@pytest.mark.parametrize("sort", functions.SORTS)
def test_every_sort_of_function_runs(new_executor: Callable[[], Executor], sort: str) -> None:
    with running(new_executor(), function=functions.SORTS[sort]) as pool:
        outcome = pool.executor.submit(Task("t", {"x": 1})).result(WAIT)
    assert isinstance(outcome, Completed), outcome
    assert outcome.result == 2


def test_task_data_may_hold_python_objects(pool: Pool) -> None:
    outcome = pool.ends(
        Completed,
        functions.takes_objects,
        when=date(2026, 1, 2),
        pair=(1, 2),
        point=functions.Point(3),
        set={4, 5},
    )
    assert outcome.result == ["2026-01-02", True, 3, [4, 5]]


@pytest.mark.usefixtures("sends")
def test_task_data_that_can_not_be_sent_is_a_failure_of_its_task(pool: Pool) -> None:
    outcome = pool.ends(Raised, tasks.returns, value=(False, 1), lock=threading.Lock())
    assert "lock" in outcome.message
    pool.still_works()


@pytest.mark.usefixtures("sends")
def test_task_data_that_can_not_be_rebuilt_is_a_failure_of_its_task(pool: Pool) -> None:
    outcome = pool.ends(Raised, tasks.returns, value=(False, 1), cursed=functions.Cursed())
    assert outcome.message == "cursed"
    pool.still_works()


@pytest.mark.usefixtures("sends")
def test_a_setting_that_can_not_be_sent_is_named(new_executor: Callable[[], Executor]) -> None:
    worker_data = WorkerData()
    worker_data.my_lock = threading.Lock()
    refused = pytest.raises(ConfigurationError, match="my_lock")
    with refused, running(new_executor(), worker_data=worker_data):
        pass


@pytest.mark.usefixtures("sends")
def test_an_argument_that_can_not_be_sent_is_named(new_executor: Callable[[], Executor]) -> None:
    worker_data = WorkerData(Namespace(fine=1, my_lock=threading.Lock()))
    executor = new_executor()
    refused = pytest.raises(ConfigurationError, match=r"args\.my_lock")
    with refused, running(executor, worker_data=worker_data):
        pass
    executor.shutdown()


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not int"):
        specify(3)  # type: ignore[arg-type]
