"""Short tasks are sent to a child ahead of time: nobody may notice, but by the speed."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest
from integration.notes import note

from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.loky import LokyExecutor
from cloud_tasks.outcome import Aborted, Completed, Exited, Outcome, TimedOut
from cloud_tasks.task import Task
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import WAIT, running

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "eventfd"), reason="without eventfd nothing is sent ahead"),
    pytest.mark.timeout(300),  # dozens of processes die and are started anew
]


class Calls:
    """A pool whose tasks write down that they were called, and what was written."""

    def __init__(self, executor: LokyExecutor, folder: Path) -> None:
        self.executor = executor
        self.log = folder / "log"
        self.gate = folder / "gate"
        self._count = 0

    def submit(self, *, max_runtime: float | None = None, **data: Any) -> Future[Outcome]:
        self._count += 1
        task = Task(str(self._count), {"log": str(self.log), **data})
        return self.executor.submit(task, max_runtime=max_runtime)

    def warm_up(self) -> None:
        """Let the children find out that tasks are short."""
        wait([self.submit() for _ in range(200)], WAIT)

    def times_called(self) -> Counter[str]:
        return Counter(line.split()[0] for line in self.log.read_text().splitlines())


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    executor = LokyExecutor()
    with running(executor, ExecutorOptions(slots=2), function=note):
        made = Calls(executor, tmp_path)
        made.warm_up()
        yield made


def test_a_task_that_takes_long_does_not_hold_up_those_behind_it(calls: Calls) -> None:
    long = calls.submit(stay=str(calls.gate))
    short = [calls.submit() for _ in range(50)]
    assert all(isinstance(future.result(WAIT), Completed) for future in short)
    assert not long.done()
    calls.gate.touch()
    assert isinstance(long.result(WAIT), Completed)
    assert set(calls.times_called().values()) == {1}


def test_tasks_that_wait_for_each_other_get_a_slot_each(calls: Calls, tmp_path: Path) -> None:
    for n in range(20):
        one, other = str(tmp_path / f"one-{n}"), str(tmp_path / f"other-{n}")
        pair = [calls.submit(touch=one, stay=other), calls.submit(touch=other, stay=one)]
        assert all(isinstance(future.result(WAIT), Completed) for future in pair)
        calls.warm_up()


def test_a_time_limit_ends_only_the_task_that_is_over_it(calls: Calls) -> None:
    futures = [calls.submit(max_runtime=WAIT) for _ in range(100)]
    late = calls.submit(stay=str(calls.gate), max_runtime=0.3)
    futures += [calls.submit(max_runtime=WAIT) for _ in range(100)]
    outcome = late.result(WAIT)
    assert isinstance(outcome, TimedOut)
    assert outcome.measures.run_time is not None
    assert outcome.measures.run_time >= 0.3
    assert all(isinstance(future.result(WAIT), Completed) for future in futures)
    assert set(calls.times_called().values()) == {1}


def test_an_abort_ends_only_the_task_that_is_meant(calls: Calls) -> None:
    stays = calls.submit(stay=str(calls.gate))
    others = [calls.submit() for _ in range(30)]
    eventually(lambda: len(calls.times_called()) > 200)
    calls.executor.abort(stays, "enough")
    assert stays.result(WAIT) == Aborted("enough", stays.result().measures)
    assert all(isinstance(future.result(WAIT), Completed) for future in others)


def test_tasks_behind_one_that_dies_run_once_elsewhere(calls: Calls) -> None:
    chance = random.Random(7)
    deadly = [chance.random() < 0.1 for _ in range(400)]
    futures = [calls.submit(**({"die": True} if dies else {})) for dies in deadly]
    outcomes = [future.result(WAIT) for future in futures]
    for dies, outcome in zip(deadly, outcomes, strict=True):
        assert isinstance(outcome, Exited if dies else Completed), outcome
    assert set(calls.times_called().values()) == {1}


def test_after_a_shutdown_nothing_that_was_sent_ahead_begins(calls: Calls) -> None:
    # All are there before any of them runs, so both slots are held by tasks that were called: one
    # that waits behind the other could be passed by those that follow. The shutdown comes with the
    # outcome of one: if it was this thread's part, all might be over before it gets that far.
    held = [calls.submit(stay=str(calls.gate)) for _ in range(2)]
    eventually(lambda: calls.times_called().keys() >= {"201", "202"})
    futures = [calls.submit() for _ in range(2000)]
    futures[100].add_done_callback(lambda _: calls.executor.shutdown(grace=WAIT, wait=False))
    calls.gate.touch()
    outcomes = [future.result(WAIT) for future in futures]
    calls.executor.shutdown(grace=WAIT)
    assert all(isinstance(future.result(0), Completed) for future in held)
    begun = {str(203 + n) for n, o in enumerate(outcomes) if isinstance(o, Completed)}
    never = [o for o in outcomes if isinstance(o, Aborted)]
    assert begun
    assert never
    assert all(outcome.measures.slot is None for outcome in never)
    assert len(begun) + len(never) == len(outcomes)
    assert begun == {name for name in calls.times_called() if int(name) > 202}


def test_sys_exit_takes_nobody_along(tmp_path: Path) -> None:
    with running(LokyExecutor(), ExecutorOptions(slots=1)) as pool:
        pool.still_works()
        futures = [pool.submit(tasks.returns, value=(False, n)) for n in range(40)]
        leaving = pool.submit(tasks.exits, code=3)
        futures += [pool.submit(tasks.returns, value=(False, n)) for n in range(40, 80)]
        outcome = leaving.result(WAIT)
        assert isinstance(outcome, Exited)
        assert outcome.exit_code == 3
        results = [getattr(future.result(WAIT), "result", None) for future in futures]
        assert results == list(range(80))
