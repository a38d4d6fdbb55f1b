"""Children that do not get ready."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks import registry
from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.function import specify
from cloud_tasks.outcome import Aborted, Completed, Outcome
from cloud_tasks.task import Task
from cloud_tasks.testing.executor_harness import WAIT
from cloud_tasks.worker_data import WorkerData

_MODULE = """
import os
from pathlib import Path
if os.getpid() != {parent}:
    boots = Path({boots!r})
    boots.write_text(boots.read_text() + "x")
    if len(boots.read_text()) <= {deaths}:
        {death}

def process(task_id, data, worker_data):
    return False, task_id
"""


class Boot:
    """An executor whose children import a module that is their end, at first."""

    def __init__(self, name: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.executor: Executor = registry.load("executor", name)()
        self.complaints: list[ExecutorBrokenError] = []
        self.broken = threading.Event()
        self.boots = folder / "boots"
        self._folder, self._patch = folder, patch

    def start(self, deaths: int, death: str) -> None:
        self.boots.write_text("")
        name = f"module_of_{self._folder.name}"
        (self._folder / f"{name}.py").write_text(
            _MODULE.format(parent=os.getpid(), boots=str(self.boots), deaths=deaths, death=death)
        )
        self._patch.syspath_prepend(str(self._folder))
        spec = specify(__import__(name).process)
        options = ExecutorOptions(slots=1, on_broken=self.breaks)
        self.executor.start(spec, WorkerData(), options)

    def breaks(self, error: ExecutorBrokenError) -> None:
        self.complaints.append(error)
        self.broken.set()

    def submit(self, task_id: str) -> Future[Outcome]:
        return self.executor.submit(Task(task_id, {}))


@pytest.fixture(params=["loky", "spawn", "forkserver"])
def boot(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    boot = Boot(request.param, tmp_path, monkeypatch)
    yield boot
    boot.executor.shutdown()


@pytest.mark.parametrize("death", ["raise ImportError('no such luck')", "os._exit(3)"])
def test_five_deaths_at_boot_are_the_end_and_told_once(boot: Boot, death: str) -> None:
    boot.start(99, death)
    waiting = [boot.submit(str(n)) for n in range(3)]
    assert boot.broken.wait(WAIT)
    assert {type(future.result(WAIT)) for future in waiting} == {Aborted}
    assert isinstance(boot.submit("later").result(WAIT), Aborted)
    boot.executor.shutdown()
    assert len(boot.boots.read_text()) == 5
    assert len(boot.complaints) == 1


@pytest.mark.parametrize(
    ("death", "words"),
    [("raise ImportError('no such luck')", "no such luck"), ("os._exit(3)", "exit code 3")],
)
def test_the_reason_of_deaths_at_boot_is_told(boot: Boot, death: str, words: str) -> None:
    boot.start(99, death)
    boot.submit("t")
    assert boot.broken.wait(WAIT)
    assert words in str(boot.complaints[0])


@pytest.mark.parametrize(
    ("deaths", "death"),
    [
        (3, "raise ImportError"),
        # The program could start: the machine can't for the moment.
        (5, "os.kill(os.getpid(), 9)"),
        (5, 'raise RuntimeError("can\'t start new thread")'),
    ],
)
def test_a_few_deaths_at_boot_lose_no_task(boot: Boot, deaths: int, death: str) -> None:
    boot.start(deaths, death)
    outcomes = [future.result(WAIT) for future in [boot.submit(str(n)) for n in range(4)]]
    assert all(isinstance(outcome, Completed) for outcome in outcomes), outcomes
    assert not boot.complaints


def test_a_shutdown_does_not_wait_for_a_boot_that_takes_long(boot: Boot) -> None:
    boot.start(99, "import time; time.sleep(60)")
    future = boot.submit("t")
    boot.executor.shutdown()
    assert isinstance(future.result(0), Aborted)
