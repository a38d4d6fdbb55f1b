"""JSON Lines: one task a line, where a bad line hurts no other."""

from __future__ import annotations

import io

import pytest

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.files import json_lines
from cloud_tasks.sources.files.json_lines import JsonLinesReader
from cloud_tasks.sources.files.opening import ByteFeed
from cloud_tasks.task import Delivery, Malformed

GOOD = b'{"task_id": "t", "data": {}}'
CHUNKS = pytest.mark.parametrize("chunk", [1, 2, 7, 65536])


def read(data: bytes, chunk: int = 65536) -> tuple[int, list[str]]:
    """Return how many tasks there are, and what is wrong with the other lines."""
    reader = JsonLinesReader(ByteFeed(io.BytesIO(data), "f", chunk=chunk))
    reader.begin()
    items = list(reader.items())
    good = sum(isinstance(item, Delivery) for item in items)
    return good, [str(item) for item in items if isinstance(item, Malformed)]


@CHUNKS
def test_lines_of_old_macs_end_by_cr_alone(chunk: int) -> None:
    assert read(GOOD + b"\r" + GOOD + b"\r\r" + GOOD, chunk) == (3, [])
    assert read(GOOD + b"\rgarbage\r", chunk)[1] == [
        "entry 2 (line 2): is no valid JSON: Expecting value at column 1"
    ]


@CHUNKS
@pytest.mark.parametrize("text", [b"[" + GOOD + b"]", b"\n[\n  " + GOOD, b" [ {"])
def test_a_list_of_tasks_is_named_as_what_it_is(text: bytes, chunk: int) -> None:
    with pytest.raises(TaskFormatError, match="one object a line, not a list"):
        read(text, chunk)


@CHUNKS
def test_every_line_is_a_task_and_blank_lines_are_none(chunk: int) -> None:
    assert read(b"\n" + GOOD + b"\r\n  \n\t" + GOOD + b" \n" + GOOD, chunk) == (3, [])


@CHUNKS
@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"task_id": "u", "da', "is no valid JSON: Unterminated string"),
        (b"garbage", "is no valid JSON: Expecting value at column 1"),
        (GOOD + GOOD, "has more than one JSON value, from column 29 on"),
        (GOOD + b",", "has more than one JSON value, from column 29 on"),
        (b'{"task_id": "\xe4"}', "is no UTF-8 at column 14"),
        (b'{"task_id": "u", "data": {"a": NaN}}', "data.a holds NaN, which is no finite number"),
        (b'{"task_id": "u", "data": {"a": %s}}' % (b"1" * 5000), "integer of 5000 digits"),
        (b"[" * 50_000, "is nested too deeply"),
        (b"[1]", "is a list, not a mapping"),
        (b'{"data": {}}', "has no 'task_id'"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_on(line: bytes, problem: str, chunk: int) -> None:
    if len(line) > 10_000 and chunk < 7:
        chunk = 7
    good, problems = read(GOOD + b"\n\n" + line + b"\n" + GOOD + b"\n", chunk)
    assert good == 2
    (told,) = problems
    assert told.startswith("entry 2 (line 3)")
    assert problem in told


def test_a_torn_last_line_is_malformed() -> None:
    good, problems = read(GOOD + b"\n" + GOOD[:-3])
    assert good == 1
    assert problems[0].startswith("entry 2 (line 2): is no valid JSON")


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t\n"])
def test_a_file_without_a_line_is_empty(data: bytes) -> None:
    with pytest.raises(TaskFormatError, match=r"^f is empty: expected a task in every line$"):
        read(data)


@CHUNKS
def test_a_line_without_measure_is_malformed(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MAX_ENTRY", 100)
    good, problems = read(GOOD + b"\n" + b"x" * 1000 + b"\n" + GOOD, chunk)
    assert good == 2
    assert "is longer than 100 bytes" in problems[0]
