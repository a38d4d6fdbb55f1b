"""Every executor there is: by the registry's names, and adapted from elsewhere."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import loky
import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks import registry
from cloud_tasks.executors.base import Executor
from cloud_tasks.executors.foreign import FuturesExecutor
from cloud_tasks.testing.executor_harness import SHARED_OPTIONS, Pool, running

ADAPTED: dict[str, Callable[[], Any]] = {
    "threads adapted": lambda: futures.ThreadPoolExecutor(2),
    "processes adapted": lambda: futures.ProcessPoolExecutor(
        2, mp_context=multiprocessing.get_context("spawn")
    ),
    "loky's own adapted": lambda: loky.ProcessPoolExecutor(2),
}
KINDS = [*registry.names("executor"), *ADAPTED]
#: How tasks end and are stopped is what adapting may break; the rest is the same code for all.
ADAPTED_IN_GATE = ("test_executors_control", "test_executors_endings")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that uses an executor with every kind."""
    if "kind" in metafunc.fixturenames:
        whole = metafunc.module.__name__.rpartition(".")[2] in ADAPTED_IN_GATE
        kinds = [
            pytest.param(
                kind,
                id=kind.replace(" ", "-"),
                marks=[pytest.mark.slow] if kind in ADAPTED and not whole else [],
            )
            for kind in KINDS
        ]
        metafunc.parametrize("kind", kinds, indirect=True, scope="module")


@contextlib.contextmanager
def factory(kind: str) -> Iterator[Callable[[], Executor]]:
    """Make executors of *kind*; close at the end what they were adapted from."""
    with contextlib.ExitStack() as foreign:

        def make() -> Executor:
            if kind in ADAPTED:
                return FuturesExecutor(foreign.enter_context(ADAPTED[kind]()))
            executor: Executor = registry.load("executor", kind)()
            return executor

        yield make


@pytest.fixture(scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    """The executor's name."""
    name: str = request.param
    return name


@pytest.fixture
def new_executor(kind: str) -> Iterator[Callable[[], Executor]]:
    """A maker of executors that are the test's own."""
    with factory(kind) as make:
        yield make


@pytest.fixture(scope="module")
def pool(kind: str) -> Iterator[Pool]:
    """One pool of two slots, shared by all tests of a module: whatever they do, it goes on."""
    with factory(kind) as make, running(make(), SHARED_OPTIONS) as pool:
        pool.still_works()  # its processes are there before the first test looks who is there
        yield pool
