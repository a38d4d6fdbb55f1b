"""What a task changes of its process, the next one does not see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract import state
from contract.conftest import factory

from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.common.call import UserFunction
from cloud_tasks.outcome import Completed, Raised
from cloud_tasks.testing.executor_harness import Pool, running

MB = 2**20


@pytest.fixture(scope="module")
def narrow(kind: str) -> Iterator[Pool]:
    """One slot: task after task meets what the one before has left."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_GIVEN", "given")
        patch.setenv("TEST_TAKEN", "taken")
        with factory(kind) as make, running(make(), ExecutorOptions(slots=1)) as pool:
            pool.needs("isolates_crashes")
            pool.still_works()  # its process is there before the first test looks who is there
            yield pool


@pytest.mark.parametrize(
    "change",
    [
        state.leaves_folder,
        state.removes_its_folder,
        state.changes_environment,
        state.changes_umask,
        state.changes_signals,
        state.changes_logging,
        state.replaces_stdout,
        state.closes_stdout,
        state.leaves_alarm,
    ],
    ids=lambda change: change.__name__,
)
def test_the_next_task_does_not_see_a_change(
    narrow: Pool, change: UserFunction, tmp_path: Path
) -> None:
    before = narrow.ends(Completed, state.looks).result
    narrow.ends(Completed, change, folder=str(tmp_path))
    assert narrow.ends(Completed, state.looks).result == before
    assert before["environ"] == {"TEST_GIVEN": "given", "TEST_TAKEN": "taken"}


def test_the_next_task_does_not_see_the_changes_of_a_failure(narrow: Pool) -> None:
    before = narrow.ends(Completed, state.looks).result
    narrow.ends(Raised, state.raises_after_changes)
    assert narrow.ends(Completed, state.looks).result == before


def test_an_alarm_that_a_task_left_does_not_ring_in_the_next(narrow: Pool) -> None:
    left = narrow.ends(Completed, state.leaves_alarm, seconds=3.0).result
    outcome = narrow.ends(Completed, state.waits_until, moment=left + 3.2)
    assert outcome.result == "not disturbed"


def _calls(pool: Pool) -> tuple[list[int], int]:
    seen: list[dict[str, Any]] = [pool.ends(Completed, state.counts).result for _ in range(3)]
    return [s["calls"] for s in seen], len({s["pid"] for s in seen})


@pytest.fixture
def own(new_executor: Callable[[], Executor]) -> Iterator[Pool]:
    """One slot of its own."""
    with running(new_executor(), ExecutorOptions(slots=1)) as pool:
        yield pool


@pytest.fixture
def reused(own: Pool) -> Pool:
    if not getattr(own.executor, "reused", False):
        pytest.skip(f"{type(own.executor).__name__} does not promise to reuse its processes")
    return own


@pytest.fixture
def fresh(own: Pool) -> Pool:
    if getattr(own.executor, "reused", True):
        pytest.skip(f"{type(own.executor).__name__} does not promise fresh processes")
    return own


def test_a_reused_process_keeps_its_globals(reused: Pool) -> None:
    assert _calls(reused) == ([1, 2, 3], 1)


def test_a_fresh_process_has_fresh_globals(fresh: Pool) -> None:
    assert _calls(fresh) == ([1, 1, 1], 3)


@pytest.mark.parametrize("leaves", [state.keeps_memory, state.leaves_process_with_memory])
def test_memory_that_earlier_tasks_left_is_not_held_against_the_next(
    new_executor: Callable[[], Executor], leaves: UserFunction
) -> None:
    options = ExecutorOptions(slots=1, memory_limit=200 * MB)
    with running(new_executor(), options) as pool:
        pool.needs("enforces_memory")
        for n in range(6):
            pool.ends(Completed, leaves, size=60 * MB, task_id=str(n))
