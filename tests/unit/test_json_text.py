from __future__ import annotations

import json
import math
from typing import Any

import pytest

from cloud_tasks.json_text import writer

pytestmark = pytest.mark.interpreter

VALUES: list[Any] = [
    None, True, 0, -1.5, 1e300, "", "é \u2028 \" \\ \x00", [], {}, [1, [2, {"b": 1, "a": None}]],
    {"z": 1, "a": [True, "x"], "m": {}}, (1, 2), {1: "number", None: "nothing", 2.5: "more"},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")])
def test_writes_what_json_dumps_writes(value: Any, separators: tuple[str, str]) -> None:
    assert writer(separators=separators)(value) == json.dumps(value, separators=separators)


def test_sorts_keys_and_asks_for_what_it_does_not_know_where_told_so() -> None:
    write = writer(sort_keys=True, default=lambda value: f"a {type(value).__name__}")
    assert write({"b": {1}, "a": 2}) == '{"a": 2, "b": "a set"}'


@pytest.mark.parametrize("value", [math.nan, math.inf, [1, {"a": -math.inf}]])
def test_refuses_nan_where_told_so(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        writer(allow_nan=False)(value)
    assert writer()(value) == json.dumps(value)


def test_what_it_refused_is_no_harm_to_the_next_value() -> None:
    write = writer(allow_nan=False)
    value: dict[str, Any] = {"a": [object()]}
    with pytest.raises(TypeError, match="object"):
        write(value)
    value["a"] = []
    assert write(value) == '{"a": []}'


def test_a_value_that_contains_itself_is_nested_too_deeply() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(RecursionError):
        writer()(value)
