"""Events for where space is scarce."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes import FakeClock

from cloud_tasks.events.records import Recorder
from cloud_tasks.events.truncation import MAX_VALUE, event_id, shortened, stripped
from cloud_tasks.outcome import Completed, CrashInfo, Exited, Measures, OverMemory, Raised
from cloud_tasks.task import Delivery, Task

#: Would be taken for keys of the event by whoever doesn't look closely.
DISGUISED = {
    "a": 1,
    "result": 1,
    "exception": "x",
    "event_id": "not this",
    "stack_trace": '", "event_id": "nor this',
}
#: Cut at any place, it is cut in the middle of an escape or of a character of two escapes.
ESCAPED = '\\"\n\x00é😀'


def recorder() -> Recorder:
    return Recorder(FakeClock(1_700_000_000.0), hostname='h", "result": "x')


def delivery(task_id: str = "t") -> Delivery:
    return Delivery(Task(task_id, {"event_id": "nor that"}), attempt=2)


def completed(result: Any, task_id: str = "t") -> bytes:
    outcome = Completed(False, json.dumps(result).encode(), Measures(1, 2.0))
    return recorder().task_event(delivery(task_id), outcome, retry=False, lease_lost=True)


def raised(text: str) -> bytes:
    return recorder().task_event(delivery(), Raised("E", "e", text, Measures(1, 2.0)), retry=False)


@pytest.mark.parametrize("result", [1, DISGUISED, [DISGUISED] * 500, json.dumps(DISGUISED)])
def test_the_id_is_the_events_own_whatever_the_result_has(result: Any) -> None:
    line = completed(result, task_id='", "event_id": "no')
    assert event_id(line) == json.loads(line)["event_id"]


def test_lines_without_an_id_differ_by_what_they_say() -> None:
    assert event_id(b'{"a": 1}') == event_id(b'{"a": 1}') != event_id(b'{"a": 2}')


@pytest.mark.parametrize("result", [None, "", "x" * 1000, DISGUISED])
def test_a_short_event_stays_as_it_is(result: Any) -> None:
    line = completed(result)
    assert shortened(line) is line


def test_an_event_whose_long_fields_are_within_the_limit_stays_as_it_is() -> None:
    line = completed("x" * (MAX_VALUE - 2))
    assert len(line) > MAX_VALUE
    assert shortened(line) is line


def test_a_long_text_is_cut_and_the_rest_of_the_event_is_as_it_was() -> None:
    line = completed("x" * 100_000)
    whole, short = json.loads(line), json.loads(shortened(line))
    assert short.pop("truncated") is True
    assert short.pop("full_size") == len(line)
    assert short.pop("result") == "x" * (MAX_VALUE - 1)
    assert whole.pop("result") == "x" * 100_000
    assert short == whole
    assert list(short) == list(whole)


def test_of_a_long_structure_the_beginning_of_its_text_is_kept() -> None:
    result = [DISGUISED] * 500
    short = json.loads(shortened(completed(result)))
    assert short["result"] == json.dumps(result)[:MAX_VALUE]
    assert short["truncated"] is True
    assert len(shortened(completed(result))) < 3 * MAX_VALUE


@pytest.mark.parametrize("shift", range(30))
def test_a_cut_in_the_middle_of_a_character_leaves_a_text(shift: int) -> None:
    text = "x" * shift + ESCAPED * 5000
    for line, key in ((completed(text), "result"), (raised(text), "exception")):
        kept = json.loads(shortened(line))[key]
        assert text.startswith(kept)
        assert len(json.dumps(kept)) > MAX_VALUE - 14
        kept.encode()


def test_text_that_is_not_ascii_is_cut_at_a_character() -> None:
    result = b'"' + "é".encode() * MAX_VALUE + b'"'
    line = recorder().task_event(
        delivery(), Completed(False, result, Measures(1, 1.0)), retry=False
    )
    assert set(json.loads(shortened(line))["result"]) == {"é"}


def test_exception_and_stack_trace_of_the_worker_are_cut_each_for_itself() -> None:
    line = recorder().fatal_exception("short", "y" * 50_000)
    short = json.loads(shortened(line))
    assert (short["exception"], len(short["stack_trace"])) == ("short", MAX_VALUE - 1)
    both = json.loads(shortened(recorder().non_fatal_exception("x" * 50_000, "y" * 50_000)))
    assert (len(both["exception"]), len(both["stack_trace"])) == (MAX_VALUE - 1, MAX_VALUE - 1)
    assert both["event_id"]


def test_a_long_event_without_long_fields_stays_as_it_is() -> None:
    outcome = Exited(1, None, Measures(1, 1.0))
    line = recorder().task_event(delivery("t" * 50_000), outcome, retry=False)
    assert shortened(line) is line
    assert stripped(line) is None


@pytest.mark.parametrize("result", ["x", DISGUISED, [DISGUISED] * 500])
def test_stripping_leaves_all_but_the_long_fields(result: Any) -> None:
    line = completed(result)
    whole, short = json.loads(line), json.loads(stripped(line) or b"")
    assert whole.pop("result") == result
    assert short == {**whole, "truncated": True, "full_size": len(line)}


def test_stripping_takes_exception_and_stack_trace_away() -> None:
    short = json.loads(stripped(recorder().non_fatal_exception("x", "y")) or b"")
    assert short.keys() & {"exception", "stack_trace"} == set()
    assert short["event_type"] == "non_fatal_exception"


@pytest.mark.parametrize("trace", ["short", "t" * 2 * MAX_VALUE, ESCAPED * MAX_VALUE])
@pytest.mark.parametrize("last", ["short", "l" * 2 * MAX_VALUE, ESCAPED * MAX_VALUE])
def test_what_a_crash_left_is_cut_and_the_rest_stays(trace: str, last: str) -> None:
    crash_info = CrashInfo(trace, last, 2**20, 2**30)
    outcome = Exited(-11, "hint", Measures(1, 2.0), crash_info)
    line = recorder().task_event(delivery(), outcome, retry=False)
    whole, short, bare = (json.loads(e) for e in (line, shortened(line), stripped(line) or b""))
    assert len(shortened(line)) < 3 * MAX_VALUE
    for key, text in (("traceback", trace), ("last_output", last)):
        assert whole[key] == text
        assert text.startswith(short.pop(key))
        assert whole.pop(key)
    for cut in (short, bare):
        assert {key: cut[key] for key in whole} == whole
    assert not {"traceback", "last_output"} & bare.keys()


def test_the_last_lines_of_a_task_over_its_memory_are_cut() -> None:
    outcome = OverMemory(1, 2, crash_info=CrashInfo(last_output="l" * 2 * MAX_VALUE))
    short = json.loads(shortened(recorder().task_event(delivery(), outcome, retry=False)))
    assert short["exception"].startswith("MemoryError")
    assert set(short["last_output"]) == {"l"}
    assert short["truncated"] is True
