"""What a task looks like, and what is said of an entry that is none."""

from __future__ import annotations

import enum
import types
from typing import Any

import pytest

from cloud_tasks.sources.entries import known_id, shown, to_item
from cloud_tasks.task import Delivery, Malformed, Task


def item(value: Any) -> Delivery | Malformed:
    return to_item(value, lambda: "entry 1")


class Name(str, enum.Enum):
    A = "a"


@pytest.mark.parametrize(
    ("task_id", "becomes"),
    [("t", "t"), (12, "12"), (-1, "-1"), (10**30, str(10**30)), (Name.A, "a"), (" ", " ")],
)
def test_an_id_is_a_string_or_becomes_one(task_id: object, becomes: str) -> None:
    made = item({"task_id": task_id, "data": {}})
    assert made == Delivery(Task(becomes, {}))
    assert isinstance(made, Delivery)
    assert type(made.task.task_id) is str


def test_further_keys_are_ignored() -> None:
    assert item({"task_id": "t", "data": {"a": 1}, "x": 2}) == Delivery(Task("t", {"a": 1}))


def test_any_mapping_is_an_entry() -> None:
    data = types.MappingProxyType({"a": 1})
    entry = types.MappingProxyType({"task_id": "t", "data": data})
    assert item(entry) == Delivery(Task("t", data))


def test_a_task_is_an_entry() -> None:
    assert item(Task("t", {"a": 1})) == Delivery(Task("t", {"a": 1}))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "is null, not a mapping with 'task_id' and 'data'"),
        ([1], "is a list, not a mapping with 'task_id' and 'data'"),
        ("text", "is a string, not a mapping with 'task_id' and 'data'"),
        (object(), "is of type object, not a mapping with 'task_id' and 'data'"),
        ({}, "has no 'task_id'"),
        ({"data": {}}, "has no 'task_id'"),
        ({"task_id": "", "data": {}}, "'task_id' is empty"),
        ({"task_id": None, "data": {}}, "'task_id' is null, not a string"),
        ({"task_id": True, "data": {}}, "'task_id' is a boolean, not a string"),
        ({"task_id": 1.5, "data": {}}, "'task_id' is a number, not a string"),
        ({"task_id": [], "data": {}}, "'task_id' is a list, not a string"),
        ({"task_id": 10**5000, "data": {}}, "'task_id' is a number of too many digits"),
    ],
)
def test_an_entry_without_a_good_id_is_no_task(value: object, problem: str) -> None:
    assert item(value) == Malformed("entry 1", problem)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"task_id": "t"}, "has no 'data'"),
        ({"task_id": "t", "data": [1]}, "'data' is a list, not a mapping"),
        ({"task_id": "t", "data": None}, "'data' is null, not a mapping"),
        ({"task_id": "t", "data": "x"}, "'data' is a string, not a mapping"),
    ],
)
def test_an_entry_without_good_data_is_named_by_its_id(value: object, problem: str) -> None:
    assert item(value) == Malformed("entry 1", problem, "t")


def test_a_long_id_is_cut_where_it_is_told() -> None:
    malformed = item({"task_id": "x" * 10**6})
    assert len(str(malformed)) < 400


def test_what_is_quoted_is_short_and_without_control_characters() -> None:
    assert shown("a\x1b[2J\n") == r"'a\x1b[2J\n'"
    assert len(shown("x" * 1000)) < 100
    assert len(shown(["x"] * 1000)) < 100


def test_the_id_of_a_refused_entry_is_known_if_it_is_good() -> None:
    assert known_id({"task_id": "t"}) == "t"
    assert known_id({"task_id": 5}) == "5"
    assert known_id({"task_id": []}) is None
    assert known_id([]) is None
