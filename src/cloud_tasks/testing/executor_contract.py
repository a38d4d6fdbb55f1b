"""Test that an executor keeps the contract of ``Executor``.

To test your own executor, write::

    class TestMine(ExecutorContract):
        pass


    @pytest.fixture
    def new_executor():
        return MyExecutor


    @pytest.fixture(scope="module")
    def pool():
        with running(MyExecutor(), SHARED_OPTIONS) as pool:
            yield pool
"""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.outcome import Aborted, Completed, Exited, Raised, TimedOut
from cloud_tasks.testing import eventually
from cloud_tasks.testing import executor_tasks as tasks
from cloud_tasks.testing.executor_harness import AT_ONCE, WAIT, Pool, all_slots_taken, running
from cloud_tasks.worker_data import WorkerData


class bool_:
    """Like NumPy's bool: true or false, but not a bool."""

    def __init__(self, value: bool) -> None:
        self._value = value

    def __bool__(self) -> bool:
        return self._value


class ExecutorContract:
    """The suite; needs the fixtures ``pool`` (shared) and ``new_executor`` (makes another)."""

    @pytest.mark.parametrize(
        ("retry", "meaning"),
        [(False, False), (True, True), (0, False), (1, True), (bool_(True), True)],
        ids=["False", "True", "0", "1", "like NumPy"],
    )
    def test_a_pair_completes_the_task(self, pool: Pool, retry: Any, meaning: bool) -> None:
        outcome = pool.ends(Completed, tasks.returns, value=(retry, "done"))
        assert (outcome.retry, outcome.result_json) == (meaning, b'"done"')

    @pytest.mark.parametrize(
        "result",
        [None, "", "té\ud800xt\n\x00", 10**400, 1.5, {"a": [1, {"b": None}]}, list(range(999))],
    )
    def test_any_json_value_is_a_result(self, pool: Pool, result: Any) -> None:
        assert pool.ends(Completed, tasks.returns, value=[False, result]).result == result

    def test_a_nan_in_the_result_becomes_null(self, pool: Pool) -> None:
        value = {"a": [math.nan, math.inf, 1.0]}
        outcome = pool.ends(Completed, tasks.returns, value=(False, value))
        assert (outcome.result, outcome.replaced_nan) == ({"a": [None, None, 1.0]}, True)

    @pytest.mark.parametrize(
        ("result", "complaint"),
        [
            ({"a": {1, 2}}, "result['a'] is a set"),
            ([b"x"], "result[0] is a bytes"),
            (object(), "result is a object"),
            ({(1, 2): 3}, "the key (1, 2), which is a tuple"),
            (bool_(True), "bool_"),
        ],
        ids=["set", "bytes", "object", "tuple as key", "class"],
    )
    def test_a_result_that_is_no_json_is_a_failure_that_names_the_part(
        self, pool: Pool, result: Any, complaint: str
    ) -> None:
        assert complaint in pool.ends(Raised, tasks.returns, value=(False, result)).message

    def test_a_result_that_contains_itself_is_a_failure_that_says_so(self, pool: Pool) -> None:
        message = pool.ends(Raised, tasks.returns_endless_list).message
        assert "result['a'][0] contains itself" in message

    def test_a_result_over_the_limit_is_a_failure_that_says_so(self, pool: Pool) -> None:
        message = pool.ends(Raised, tasks.returns, value=(False, "x" * 2**21)).message
        assert "2.0 MiB" in message
        assert "--max-result-size" in message

    @pytest.mark.parametrize(
        "value",
        [None, "ab", (1, 2, 3), {1: 2, 3: 4}, (2, "x"), ("yes", "x"), (None, "x")],
        ids=repr,
    )
    def test_what_is_no_pair_is_a_failure_that_tells_what_it_was(
        self, pool: Pool, value: Any
    ) -> None:
        assert "the function returned" in pool.ends(Raised, tasks.returns, value=value).message

    def test_an_async_function_is_told_off(self, pool: Pool) -> None:
        assert "must not be async" in pool.ends(Raised, tasks.is_async).message

    @pytest.mark.parametrize("name", ["ValueError", "KeyboardInterrupt", "GeneratorExit"])
    def test_an_exception_keeps_type_text_and_traceback(self, pool: Pool, name: str) -> None:
        outcome = pool.ends(Raised, tasks.raises, name=name, text="héllo")
        assert (outcome.exc_type, outcome.message) == (name, "héllo")
        assert "in raises" in outcome.traceback
        assert outcome.traceback.rstrip().endswith(f"{name}: héllo")

    @pytest.mark.parametrize("which", ["two arguments", "unpicklable", "speechless"])
    def test_an_exception_that_no_pickle_survives_is_a_failure_of_its_task_alone(
        self, pool: Pool, which: str
    ) -> None:
        outcome = pool.ends(Raised, tasks.raises_own, which=which)
        assert outcome.exc_type.endswith("Error")
        assert "in raises_own" in outcome.traceback
        if which == "speechless":
            assert outcome.traceback.rstrip().endswith("<exception str() failed>")
        pool.still_works()

    def test_a_huge_message_loses_its_middle(self, pool: Pool) -> None:
        outcome = pool.ends(Raised, tasks.raises, name="ValueError", text="x" * 10**7)
        assert len(outcome.message) + len(outcome.traceback) < 200_000

    @pytest.mark.parametrize(
        ("code", "exit_code"), [(None, 0), (0, 0), (7, 7), (300, 44), (-1, 255), (True, 1)]
    )
    def test_sys_exit_is_an_exit_with_that_code(
        self, pool: Pool, code: Any, exit_code: int
    ) -> None:
        assert pool.ends(Exited, tasks.exits, code=code).exit_code == exit_code
        pool.still_works()

    def test_sys_exit_with_a_text_prints_it(
        self, new_executor: Callable[[], Executor], capfd: pytest.CaptureFixture[str]
    ) -> None:
        with running(new_executor()) as pool:
            assert pool.ends(Exited, tasks.exits, code="so be it").exit_code == 1
            assert "so be it" in eventually(lambda: capfd.readouterr().err)

    # pytest reports threads that end with an exception; Python ignores SystemExit in one.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_sys_exit_in_a_thread_of_the_task_ends_the_thread_alone(self, pool: Pool) -> None:
        assert pool.ends(Completed, tasks.exits_in_thread).result == "went on"

    def test_the_task_knows_its_id_and_its_data(self, pool: Pool) -> None:
        assert pool.ends(Completed, tasks.returns_task_data, task_id="me", x=1).result == {
            "task_id": "me",
            "by key": ["me", True],
            "contains": False,
            "keys": ["do", "x"],
        }

    def test_a_completed_task_is_measured(self, pool: Pool) -> None:
        measures = pool.ends(Completed, tasks.returns, value=(False, 0)).measures
        assert measures.started is not None
        assert measures.run_time is not None
        assert 0 <= measures.run_time <= measures.elapsed_time < WAIT

    def test_a_task_over_its_limit_is_ended(self, pool: Pool) -> None:
        pool.needs("enforces_timeout")
        outcome = pool.ends(TimedOut, tasks.sleeps, max_runtime=0.3)
        assert outcome.max_runtime == 0.3
        assert 0.3 <= (outcome.measures.run_time or 0) < AT_ONCE
        pool.still_works()

    def test_a_queued_task_can_be_cancelled(self, pool: Pool, tmp_path: Path) -> None:
        pool.needs("background")
        with all_slots_taken(pool, tmp_path):
            waiting = pool.submit(tasks.returns, value=(False, 1))
            # An executor that sends tasks ahead can't cancel those that it has sent.
            spare = [pool.submit(tasks.returns, value=(False, 2)) for _ in range(9)]
            assert spare[-1].cancel()
            waiting.cancel()
        assert spare[-1].cancelled()
        pool.still_works()

    def test_worker_data_is_each_tasks_own_copy(self, new_executor: Callable[[], Executor]) -> None:
        worker_data = WorkerData(Namespace(n=1))
        worker_data.colour = "blue"
        with running(new_executor(), worker_data=worker_data) as pool:
            seen = [pool.ends(Completed, tasks.spoils_worker_data).result for _ in range(3)]
        assert seen == [{"colour": "blue", "args.n": 1}] * 3
        assert (worker_data.colour, worker_data.args.n) == ("blue", 1)

    def test_a_running_task_sees_the_flags_change(
        self, new_executor: Callable[[], Executor], tmp_path: Path
    ) -> None:
        with running(new_executor()) as pool:
            pool.needs("live_flags", "background")
            future = pool.submit(tasks.watches_flags, started=str(tmp_path / "started"))
            eventually((tmp_path / "started").exists)
            pool.executor.request_shutdown()
            raised = time.monotonic()
            outcome = future.result(WAIT)
        assert isinstance(outcome, Completed)
        assert outcome.result["before"] == [False, False]
        assert outcome.result["after"] == [True, False]
        assert outcome.result["missed"] - raised < 0.1

    def test_shutdown_may_come_twice_and_before_any_task(
        self, new_executor: Callable[[], Executor]
    ) -> None:
        with running(new_executor()) as pool:
            pool.executor.shutdown()
            pool.executor.shutdown()
            with pytest.raises(RuntimeError):
                pool.submit(tasks.returns, value=(False, 1))

    def test_shutdown_lets_a_running_task_finish_within_the_grace(
        self, new_executor: Callable[[], Executor], tmp_path: Path
    ) -> None:
        with running(new_executor()) as pool:
            pool.needs("background")
            started, release = tmp_path / "started", tmp_path / "release"
            future = pool.submit(tasks.holds, started=str(started), release=str(release))
            eventually(started.exists)
            release.touch()
            pool.executor.shutdown(grace=WAIT)
        assert isinstance(future.result(0), Completed)

    def test_what_waits_at_a_shutdown_is_aborted(
        self, new_executor: Callable[[], Executor], tmp_path: Path
    ) -> None:
        with running(new_executor(), ExecutorOptions(slots=1)) as pool:
            pool.needs("background", "isolates_crashes")
            futures = [pool.submit(tasks.sleeps, started=str(tmp_path / str(n))) for n in range(3)]
            eventually((tmp_path / "0").exists)
            pool.executor.shutdown()
        assert [type(future.result(0)) for future in futures] == [Aborted] * 3
