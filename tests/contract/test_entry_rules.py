"""What an entry may not hold is refused alike, wherever it comes from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.queues.base import Message
from cloud_tasks.sources.cloud_queue.messages import to_delivery
from cloud_tasks.sources.files.task_file import TaskFileSource
from cloud_tasks.sources.iterable import IterableSource
from cloud_tasks.task import Delivery, Malformed
from cloud_tasks.testing.source_contract import drain

Items = list[Delivery | Malformed]
GOOD = '{"task_id": "good", "data": {"n": 1, "x": 2.5}}'


def in_file(suffix: str, form: Callable[[list[str]], str]) -> Callable[[Path, list[str]], Items]:
    def read(folder: Path, entries: list[str]) -> Items:
        path = folder / f"tasks{suffix}"
        path.write_text(form(entries))
        drained = drain(TaskFileSource(path))
        assert drained.error is None
        return [*map(Delivery, drained.tasks), *drained.malformed]

    return read


def as_messages(folder: Path, entries: list[str]) -> Items:
    return [to_delivery(Message("m", entry.encode(), 1), None) for entry in entries]


def from_function(folder: Path, entries: list[str]) -> Items:
    drained = drain(IterableSource(lambda: map(json.loads, entries)))
    assert drained.error is None
    return [*map(Delivery, drained.tasks), *drained.malformed]


#: Entries in JSON, by the place that they come from.
TEXTS: dict[str, Callable[[Path, list[str]], Items]] = {
    "json": in_file(".json", lambda entries: f"[{', '.join(entries)}]"),
    "json by line": in_file(".json", lambda entries: "[\n" + ",\n".join(entries) + "\n]"),
    "jsonl": in_file(".jsonl", "\n".join),
    "yaml": in_file(".yaml", lambda entries: "".join(f"- {entry}\n" for entry in entries)),
    "message": as_messages,
}


def entry(data: str) -> str:
    return f'{{"task_id": "bad", "data": {data}}}'


TWICE = {
    '{"x": 1, "x": 2}': "data has the key 'x' twice",
    '{"x": 1, "x": 1}': "data has the key 'x' twice",
    '{"l": [1, {"a": {"x": [], "y": ":", "x": {}}}]}': "data.l[1].a has the key 'x' twice",
    '{"x": 1, "\\u0078": 2}': "data has the key 'x' twice",
    '{"": 1, "": 2}': "data has the key '' twice",
}
NUMBERS = {
    '{"x": 1e400}': "data.x holds 1e400, which is no finite number",
    '{"x": -1e999}': "data.x holds -1e999, which is no finite number",
    '{"x": [0.5, 1.0e+400]}': "data.x[1] holds 1.0e+400, which is no finite number",
    '{"x y": {"z": 1E400}}': "data['x y'].z holds 1E400, which is no finite number",
}


@pytest.mark.parametrize("source", TEXTS)
@pytest.mark.parametrize(("data", "problem"), [*TWICE.items(), *NUMBERS.items()])
def test_a_text_is_refused_wherever_it_comes_from(
    tmp_path: Path, source: str, data: str, problem: str
) -> None:
    # Among others, because many are decoded at once.
    items = TEXTS[source](tmp_path, [GOOD] * 30 + [entry(data)] + [GOOD] * 30)
    bad = [item for item in items if isinstance(item, Malformed)]
    assert [(item.task_id, item.problem) for item in bad] == [("bad", problem)]
    assert len(items) == 61


@pytest.mark.parametrize("source", TEXTS)
@pytest.mark.parametrize("key", ["task_id", "data"])
def test_two_entries_in_one_are_refused(tmp_path: Path, source: str, key: str) -> None:
    other = f'{{"task_id": "a", "data": {{}}, "{key}": {{}}}}'
    (item,) = TEXTS[source](tmp_path, [other])
    assert isinstance(item, Malformed)
    assert item.problem == f"has the key '{key}' twice: are these two entries?"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("source", ["json", "jsonl", "message"])
def test_words_of_python_are_no_numbers(tmp_path: Path, source: str, number: str) -> None:
    (item,) = TEXTS[source](tmp_path, [entry(f'{{"a": [{number}]}}')])
    assert isinstance(item, Malformed)
    assert item.problem == f"data.a[0] holds {number}, which is no finite number"


PLACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "data": lambda part: part,
    "data.a": lambda part: {"a": part},
    "data.a[1].b": lambda part: {"a": [0, {"b": part}]},
    "data.t[0]": lambda part: {"t": (part,)},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("key", [1, 1.5, True, None, math.nan, (1, 2), b"x"])
def test_a_key_that_is_no_text_is_refused_from_a_function(place: str, key: Any) -> None:
    bad = {"task_id": "bad", "data": PLACES[place]({"x": 1, key: 2})}
    (item,) = drain(IterableSource(lambda: [bad])).malformed
    assert item.task_id == "bad"
    assert item.problem.startswith(f"{place} has the key {key!r}, which is ")
    assert item.problem.endswith(", not a string: quote it")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_is_refused_from_a_function(place: str, number: float) -> None:
    bad = {"task_id": "bad", "data": PLACES[place]({"x": 1.5, "y": number})}
    (item,) = drain(IterableSource(lambda: [bad])).malformed
    assert item.problem == f"{place}.y holds {number!r}, which is no finite number"


def test_a_function_gives_what_a_file_gives(tmp_path: Path) -> None:
    entries = [GOOD, entry('{"x": [1, {"y": "z"}], "f": 1.5, "n": null}'), entry('{"x": NaN}')]
    told = [
        [str(item) for item in read(tmp_path, entries)] for read in (TEXTS["jsonl"], from_function)
    ]
    assert [line.partition(": ")[2].replace("nan", "NaN") for line in told[1]] == [
        line.partition(": ")[2] for line in told[0]
    ]


def test_data_that_contain_themselves_are_refused() -> None:
    data: dict[str, Any] = {"a": []}
    data["a"].append(data)
    (item,) = drain(IterableSource(lambda: [{"task_id": "t", "data": data}])).malformed
    assert item.problem == "is nested too deeply"


def test_further_keys_of_an_entry_keep_the_rules_too(tmp_path: Path) -> None:
    further = '{"task_id": "t", "data": {}, "cause": {"a": 1, "a": 2}}'
    (item,) = TEXTS["jsonl"](tmp_path, [further])
    assert isinstance(item, Malformed)
    assert item.problem == "cause has the key 'a' twice"
    (item,) = drain(IterableSource(lambda: [{"task_id": "t", "data": {}, 5: 1}])).malformed
    assert item.problem == "has the key 5, which is a number, not a string: quote it"
