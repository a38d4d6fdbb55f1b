from __future__ import annotations

import asyncio
import functools
import pickle
import threading
from argparse import Namespace
from typing import Any

import pytest

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.executors.function import serialise, serialise_worker_data, specify
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.worker_data import WorkerData

pytestmark = pytest.mark.interpreter


def test_a_function_of_a_module_travels_by_name() -> None:
    assert len(specify(tasks.returns).pickled()) < 100
    assert pickle.loads(specify(tasks.returns).pickled()) is tasks.returns


def test_a_lambda_travels_by_value() -> None:
    rebuilt = pickle.loads(specify(lambda task_id, data, worker_data: (False, 5)).pickled())
    assert rebuilt("t", {}, WorkerData()) == (False, 5)


def test_a_function_that_holds_a_lock_is_refused_with_advice() -> None:
    lock = threading.Lock()

    def locked(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        with lock:
            return False, None

    with pytest.raises(ConfigurationError, match=r"locked.*lock.*--executor inline"):
        specify(locked).pickled()


def test_the_name_of_a_callable_instance_is_its_class() -> None:
    class Instance:
        def __call__(self, task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any: ...

    assert specify(Instance()).name.endswith("Instance")
    assert specify(tasks.returns).name == "returns"


@pytest.mark.parametrize(
    ("worker_data", "name"),
    [
        (WorkerData(Namespace(a=1, lock=threading.Lock())), r"worker_data\.args\.lock"),
        (WorkerData(threading.Lock()), r"worker_data\.args "),
    ],
    ids=["in a namespace", "the namespace"],
)
def test_what_of_worker_data_can_not_be_sent_is_named(worker_data: WorkerData, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        serialise_worker_data(worker_data, None)


def test_a_set_attribute_that_can_not_be_sent_is_named() -> None:
    worker_data = WorkerData()
    worker_data.pipe = threading.Lock()
    with pytest.raises(ConfigurationError, match=r"worker_data\.pipe"):
        serialise_worker_data(worker_data, None)


def test_text_that_happens_to_be_main_survives() -> None:
    assert pickle.loads(serialise({"module": "__main__"}, None)) == {"module": "__main__"}


async def _coroutine(*_: Any) -> Any: ...


async def _async_generator(*_: Any) -> Any:
    yield


def _generator(*_: Any) -> Any:
    yield


class _Deferred:
    async def __call__(self, *_: Any) -> Any: ...

    async def method(self, *_: Any) -> Any: ...


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (_coroutine, "an async function"),
        (_async_generator, "an async generator function"),
        (_generator, "a generator function"),
        (functools.partial(functools.partial(_coroutine, 1), 2), "an async function"),
        (functools.partial(_generator), "a generator function"),
        (_Deferred(), "an async function"),
        (_Deferred().method, "an async function"),
        (functools.partial(_Deferred()), "an async function"),
    ],
)
def test_a_function_whose_call_runs_nothing_is_refused(function: Any, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=f"must be a plain function.* is {kind}, .*write"):
        specify(function)


def test_a_plain_function_around_an_async_one_is_fine() -> None:
    @functools.wraps(_coroutine)
    def around(*given: Any) -> Any:
        return asyncio.run(_coroutine(*given))

    specify(around)
    specify(functools.partial(around))
