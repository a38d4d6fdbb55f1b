from __future__ import annotations

import math
from typing import Any

import pytest

from cloud_tasks.executors.common.call import culprit, without_nan

pytestmark = pytest.mark.interpreter

DEEP: list[Any] = []
for _ in range(5000):
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
def test_json_has_no_culprit(value: Any) -> None:
    assert culprit(value) is None


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({1}, "result is a set"),
        ({"a": [1, {"b": b""}]}, "result['a'][1]['b'] is a bytes"),
        (ENDLESS, "result['a'][1] contains itself"),
        ({b"k": 1}, "result has the key b'k', which is a bytes"),
        (DEEP, "nested more than 200 deep"),
        ([10**10_000], "result[0] is an integer with too many digits"),
        ([1 + 2j], "result[0] is a complex"),
    ],
    ids=["set", "deep inside", "cycle", "key", "depth", "digits", "complex"],
)
def test_the_first_culprit_is_named_with_its_place(value: Any, sentence: str) -> None:
    assert sentence in (culprit(value) or "")


def test_nan_becomes_none_at_any_depth() -> None:
    value = {"a": [math.nan, (math.inf, -math.inf, 1.0)], "b": "nan"}
    assert without_nan(value) == {"a": [None, [None, None, 1.0]], "b": "nan"}
