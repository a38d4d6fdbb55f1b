"""Start an executor for a test, and use it in few words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.common.call import UserFunction
from cloud_tasks.executors.function import specify
from cloud_tasks.outcome import Completed, Outcome
from cloud_tasks.task import Task
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.worker_data import WorkerData

#: Options of the ``pool`` fixture.
SHARED_OPTIONS = ExecutorOptions(slots=2, max_result_bytes=2**20, exit_grace=3.0)
#: Seconds after which a test of the suite fails.
WAIT = 40.0
#: Seconds that count as "at once" on a busy machine: less than any task here sleeps, and less than
#: any grace period, so that waiting for one of these fails the test.
AT_ONCE = 20.0

Need = Literal[
    "enforces_timeout",
    "enforces_memory",
    "isolates_crashes",
    "live_flags",
    "captures_output",
    "background",
]
_LACKS: dict[str, str] = {
    "enforces_timeout": "does not enforce time limits",
    "enforces_memory": "does not enforce memory limits",
    "isolates_crashes": "does not isolate crashes",
    "live_flags": "has no live flags",
    "captures_output": "does not keep apart what tasks print",
    "background": "runs a task before submit returns",
}
Ending = TypeVar("Ending")


class Pool:
    """A running executor with methods for tests."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        can = executor.capabilities
        self._missing = {need for need in _LACKS if not getattr(can, need, True)}
        if can.needs_main_thread:
            self._missing.add("background")

    def needs(self, *needs: Need) -> None:
        """Skip the test if the executor lacks one of *needs*."""
        for need in needs:
            if need in self._missing:
                pytest.skip(f"{type(self.executor).__name__} {_LACKS[need]}")

    def submit(
        self,
        function: UserFunction,
        *,
        task_id: str = "a task",
        max_runtime: float | None = None,
        **data: Any,
    ) -> Future[Outcome]:
        """Submit a task that calls *function*, of an importable module, with *data*."""
        name = f"{function.__module__}:{getattr(function, '__qualname__', '')}"
        task = Task(task_id, {"do": name, **data})
        return self.executor.submit(task, max_runtime=max_runtime)

    def run(self, function: UserFunction, **keywords: Any) -> Outcome:
        """Submit a task and wait for its outcome."""
        return self.submit(function, **keywords).result(WAIT)

    def ends(self, expected: type[Ending], function: UserFunction, **keywords: Any) -> Ending:
        """Run a task and check that the type of its outcome is *expected*."""
        outcome = self.run(function, **keywords)
        assert isinstance(outcome, expected), outcome
        return outcome

    def still_works(self) -> None:
        """Check that further tasks, more than there are slots, complete."""
        futures = [
            self.submit(tasks.returns, value=(False, n)) for n in range(self.executor.slots + 1)
        ]
        outcomes = [future.result(WAIT) for future in futures]
        assert [getattr(o, "result", o) for o in outcomes] == list(range(len(futures)))


@contextlib.contextmanager
def running(
    executor: Executor,
    options: ExecutorOptions | None = None,
    *,
    function: UserFunction = tasks.perform,
    worker_data: WorkerData | None = None,
) -> Iterator[Pool]:
    """Start *executor* for a ``with`` block, and shut it down at its end."""
    executor.start(
        specify(function), worker_data or WorkerData(), options or ExecutorOptions(slots=2)
    )
    try:
        yield Pool(executor)
    finally:
        executor.shutdown()


@contextlib.contextmanager
def all_slots_taken(pool: Pool, folder: Path) -> Iterator[list[Future[Outcome]]]:
    """Keep every slot of *pool* busy for a ``with`` block; the tasks complete at its end."""
    release = folder / "release"
    futures = [
        pool.submit(tasks.holds, started=str(folder / f"started-{n}"), release=str(release))
        for n in range(pool.executor.slots)
    ]
    for n in range(len(futures)):
        eventually((folder / f"started-{n}").exists)
    try:
        yield futures
    finally:
        release.touch()
    assert all(isinstance(future.result(WAIT), Completed) for future in futures)
