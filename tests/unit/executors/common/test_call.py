from __future__ import annotations

import json
import math
import os
from typing import Any

import pytest

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.call import (
    Reply,
    UserFunction,
    call,
    find_unencodable,
    replace_nan,
)
from cloud_tasks.executors.common.exception_text import Interruption
from cloud_tasks.worker_data import WorkerData

pytestmark = pytest.mark.interpreter


def run(function: UserFunction, **keywords: Any) -> Reply:
    return call(function, "t", {"x": 1}, WorkerData(), **{"max_result_bytes": 0, **keywords})


def returning(value: Any) -> UserFunction:
    return lambda task_id, data, worker_data: value


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Sly:
    """Exits the process when it is shown."""

    def __repr__(self) -> str:
        raise SystemExit(3)


def test_a_reply_holds_the_result_as_one_line_of_ascii() -> None:
    reply = run(returning((True, {"é": "a\nb"})))
    assert (reply.kind, reply.retry) == (protocol.DONE, True)
    assert reply.body == b'{"\\u00e9": "a\\nb"}'


@pytest.mark.parametrize(
    ("limit", "kind"), [(0, protocol.DONE), (12, protocol.DONE), (11, protocol.RAISED)]
)
def test_the_limit_counts_bytes_of_json(limit: int, kind: int) -> None:
    assert run(returning((False, "x" * 10)), max_result_bytes=limit).kind == kind


def test_what_can_not_even_be_shown_is_a_failure() -> None:
    assert "a Rude" in json.loads(run(returning(Rude())).body)[1]


def test_a_result_that_exits_when_shown_is_an_exit() -> None:
    reply = run(returning(Sly()))
    assert (reply.kind, reply.body) == (protocol.EXITING, b"3")


def test_an_interruption_is_raised_on_and_is_no_outcome_of_the_task() -> None:
    def interrupted(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        raise Interruption

    with pytest.raises(Interruption):
        run(interrupted)


def test_the_traceback_begins_in_the_users_code() -> None:
    def fails(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        raise ValueError("here")

    _, _, traceback = json.loads(run(fails).body)
    assert "cloud_tasks/executors/common/call.py" not in traceback
    assert "in fails" in traceback


def test_a_chain_of_causes_is_kept() -> None:
    def fails(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        try:
            return data["cause"]
        except KeyError as error:
            raise ValueError("effect") from error

    assert "KeyError: 'cause'" in json.loads(run(fails).body)[2]


def test_on_start_is_called_right_before_the_function() -> None:
    order: list[str] = []

    def notes(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        order.append("call")
        return False, None

    run(notes, on_start=lambda: order.append("start"))
    assert order == ["start", "call"]


def test_cpu_time_of_children_counts() -> None:
    def forks(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        pid = os.posix_spawn(
            "/bin/sh", ["sh", "-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"], {}
        )
        os.waitpid(pid, 0)
        return False, None

    reply = run(forks)
    assert reply.cpu_time > 0.01
    assert reply.run_time > 0


def test_a_recursion_without_end_is_a_failure() -> None:
    def recurses(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        return recurses(task_id, data, worker_data)

    assert json.loads(run(recurses).body)[0] == "RecursionError"


DEEP: list[Any] = []
for _ in range(50_000):
    DEEP = [DEEP]
ENDLESS: dict[str, Any] = {"a": [1]}
ENDLESS["a"].append(ENDLESS)
SHARED = [1]


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        1.5,
        math.nan,
        "x",
        [],
        {},
        {"a": [(1, {"b": None})], 1: 2, None: 3},
        [SHARED, SHARED],
    ],
)
def test_a_value_that_json_can_hold_is_not_reported(value: Any) -> None:
    assert find_unencodable(value) is None


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({1}, "result is a set"),
        ({"a": [1, {"b": b""}]}, "result['a'][1]['b'] is a bytes"),
        (ENDLESS, "result['a'][1] contains itself"),
        ({b"k": 1}, "result has the key b'k', which is a bytes"),
        ({"a": [{math.nan: 1}]}, "result['a'][0] has the key nan, which is no finite number"),
        ({-math.inf: 1}, "result has the key -inf, which is no finite number"),
        ([10**10_000], "result[0] is an integer with too many digits"),
        ([1 + 2j], "result[0] is a complex"),
    ],
    ids=["set", "deep inside", "cycle", "key", "key nan", "key inf", "digits", "complex"],
)
def test_the_first_part_that_json_can_not_hold_is_named_with_its_place(
    value: Any, sentence: str
) -> None:
    assert sentence in (find_unencodable(value) or "")


def test_the_depth_that_is_told_is_the_true_one() -> None:
    message = json.loads(run(returning((False, DEEP))).body)[1]
    assert message == "the result can't be written as JSON: it is nested 50001 deep"


def test_the_place_of_a_key_that_is_no_number_is_told() -> None:
    message = json.loads(run(returning((False, [{"x": {math.nan: 1}}]))).body)[1]
    assert message == (
        "the result can't be written as JSON: result[0]['x'] has the key nan, "
        "which is no finite number"
    )


def test_a_result_may_be_nested_as_deeply_with_nan_as_without() -> None:
    deep: Any = [math.nan]
    for _ in range(300):
        deep = [deep]
    assert b"null" in run(returning((False, deep))).body


def test_nan_becomes_none_at_any_depth() -> None:
    value = {"a": [math.nan, (math.inf, -math.inf, 1.0)], "b": "nan"}
    assert replace_nan(value) == {"a": [None, [None, None, 1.0]], "b": "nan"}
