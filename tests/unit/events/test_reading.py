"""The shortcut finds in a line what a parser would find, or leaves the line to the parser."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_tasks.events.reading import task_end
from cloud_tasks.events.records import Recorder
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    Exited,
    Measures,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.task import Delivery, Task

FIELDS = ("event_type", "task_id", "retry", "data_digest")


def parsed(line: bytes) -> dict[str, Any]:
    event = json.loads(line)
    return {name: event.get(name) for name in FIELDS}


def line_of(
    outcome: Outcome, *, task_id: str = "a-1", data: Any = None, retry: bool = False
) -> bytes:
    delivery = Delivery(Task(task_id, {"n": 1} if data is None else data), attempt=2)
    recorder = Recorder(FakeClock(), "machine")
    return recorder.task_event(delivery, outcome, retry=retry, lease_lost=retry) + b"\n"


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize(
    "outcome",
    [
        Completed(False, b'"a result"', Measures(3, 0.5, 1e9, 0.4, 0.1, 55.0)),
        Completed(False, b'"with \\"quotes\\" and \\u00e9"'),
        Completed(False, b"-12.5e-7"),
        Completed(False, b"null"),
        Completed(False, b'{"sum": 3, "name": "x", "none": null}'),
        Completed(False, b'[1, 2.5, "three", false]'),
        Raised("ValueError", "text", 'Traceback:\n  File "x"\nValueError: \\text'),
        TimedOut(3.0),
        Exited(-11),
        OverMemory(2**30, 2**31),
        Aborted("we did"),
    ],
    ids=str,
)
def test_the_usual_lines_need_no_parser(outcome: Outcome, retry: bool) -> None:
    line = line_of(outcome, retry=retry)
    assert task_end(line) == parsed(line)


@pytest.mark.parametrize("data", [{}, {"a": {1, 2}}], ids=["digest", "no digest"])
def test_an_event_without_a_digest_has_none(data: Any) -> None:
    line = line_of(Completed(False, b"1"), data=data)
    found = task_end(line)
    assert found is not None
    assert (found["data_digest"] is None) == (data != {})


GOOD = line_of(Completed(False, b'"r"'))
BROKEN = {
    "nothing": b"",
    "a torn line": GOOD[:-20],
    "two lines torn together": GOOD[:120] + GOOD,
    "the end of another": GOOD[:-2] + GOOD[-60:],
    "a bad escape": GOOD.replace(b'"r"', b'"\\x"'),
    "a raw control character": GOOD.replace(b'"r"', b'"\t"'),
    "a number with a leading zero": GOOD.replace(b'"r"', b"012"),
    "a comma too many": GOOD.replace(b'"r"', b'"r",'),
    "bytes that are no UTF-8": GOOD.replace(b'"r"', b'"\xff"'),
    "zeros of a lost block": GOOD.replace(b'"r"', b"\0\0\0"),
    "more behind it": GOOD[:-1] + b" x\n",
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
def test_what_is_no_json_is_left_to_the_parser(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind
        json.loads(line)
    assert task_end(line) is None


@pytest.mark.parametrize(
    "line",
    [
        line_of(Completed(False, b"1"), task_id='with "quotes"'),
        line_of(Completed(False, b"1"), task_id="caf\u00e9"),
        line_of(Completed(False, b'{"deep": {"er": [1]}}')),
        line_of(Completed(False, b'"%s"' % (b"x" * 100_000))),
        GOOD.replace(b'"result"', b'"retry": true, "result"'),
        GOOD.replace(b'"result"', b'"task_id": "other", "result"'),
        GOOD.replace(b'"result"', b'"data_digest": "other", "result"'),
        GOOD.replace(b', "', b',"'),
        json.dumps({"event_type": "task_completed", "task_id": "old", "retry": False}).encode(),
        b'{"timestamp": "t", "hostname": "h", "event_type": "keep_alive", "running": 1}\n',
    ],
    ids=range(10),
)
def test_what_is_unusual_is_left_to_the_parser(line: bytes) -> None:
    json.loads(line)
    assert task_end(line) is None


@settings(deadline=None)
@given(
    st.text(min_size=1, max_size=20),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=6,
    ),
    st.booleans(),
)
def test_it_never_finds_anything_else_than_a_parser(task_id: str, result: Any, retry: bool) -> None:
    line = line_of(Completed(retry, json.dumps(result).encode()), task_id=task_id, retry=retry)
    assert task_end(line) in (None, parsed(line))


@settings(deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=4), st.integers(0, 6))
def test_nor_in_a_line_that_was_damaged(at: int, put: bytes, cut: int) -> None:
    line = GOOD[:at] + put + GOOD[at + cut :]
    found = task_end(line)
    if found is not None:
        assert found == parsed(line)
