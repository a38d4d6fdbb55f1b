from __future__ import annotations

import json
import time
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_tasks.clock import Clock
from cloud_tasks.events.causes import FailureCause, cause_of, cause_of_event, folded, is_failure
from cloud_tasks.events.records import Recorder
from cloud_tasks.executors.common.call import BadResultError, describe
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    Exited,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.task import Delivery, Task

TRACEBACK = """\
Traceback (most recent call last):
  File "/home/u/work.py", line 12, in load
    raise ValueError("bad header in 3")
ValueError: bad header in 3
"""


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Completed(True, b"1"), "asked for another try"),
        (Raised("KeyError", "", ""), "KeyError"),
        (TimedOut(2.5), "ran longer than 2.5 s"),
        (OverMemory(2**31, 2**32), "used more than 2 GB of memory"),
        (Aborted("we did"), "aborted: we did"),
    ],
)
def test_a_cause_says_what_happened(outcome: Outcome, text: str) -> None:
    assert cause_of(outcome) == text


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Exited(0), "exit code 0"),
        (Exited(-11), "killed by signal 11 (SIGSEGV)"),
        (Exited(-9, "out of memory"), "killed by signal 9 (SIGKILL), out of memory"),
        (Exited(-999), "killed by signal 999"),
        (Exited(None), "its process is lost"),
    ],
)
def test_an_exit_is_told_in_words(outcome: Exited, text: str) -> None:
    assert cause_of(outcome) == text


def event_of(outcome: Outcome) -> dict[str, Any]:
    """Return the event of ours that tells of *outcome*."""
    event: dict[str, Any] = json.loads(
        Recorder(Clock()).task_event(Delivery(Task("t", {})), outcome, retry=False)
    )
    return event


def raised(error: BaseException) -> Raised:
    """Return the outcome of a task that raised *error*."""
    try:
        fail(error)
    except BaseException as caught:  # noqa: BLE001 - any will do
        return Raised(*json.loads(describe(caught)))


def fail(error: BaseException) -> NoReturn:
    raise error


@pytest.mark.parametrize(
    "outcome",
    [
        raised(ValueError("bad header in 3")),
        raised(json.JSONDecodeError("no", "text", 2)),
        raised(KeyError()),
        raised(ValueError("\n  at last")),
        raised(SyntaxError("bad", ("f.py", 3, 1, "a b", 1, 2))),
        raised(BadResultError("the function returned 3 (a int), not a pair (retry, result)")),
        OverMemory(3 * 2**29, 2**32),
        Exited(3),
        Exited(-9, "probably out of memory"),
        Exited(None),
        Aborted("the grace period is over"),
    ],
)
def test_an_event_tells_the_cause_in_the_words_of_the_outcome(outcome: Outcome) -> None:
    event = event_of(outcome)
    if isinstance(outcome, Exited) and outcome.hint:
        event["hint"] = outcome.hint
    assert cause_of_event(event).text == cause_of(outcome)


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (
            {"event_type": "task_exception", "exception": TRACEBACK},
            FailureCause("ValueError: bad header in #", "work.py:12 in load"),
        ),
        (
            {"event_type": "task_exception", "exception": "KeyError: 'n'"},
            FailureCause("KeyError: 'n'", None),
        ),
        ({"event_type": "task_timed_out"}, FailureCause("ran too long", None)),
        ({"event_type": "task_exited", "exit_code": 3}, FailureCause("exit code 3", None)),
        (
            {
                "event_type": "task_exited",
                "exit_code": -11,
                "traceback": "Current thread 0x1 (most recent call first):\n"
                '  File "/home/u/work.py", line 4 in load\n',
            },
            FailureCause("killed by signal 11 (SIGSEGV)", "work.py:4 in load"),
        ),
        (
            {"event_type": "task_completed", "retry": True},
            FailureCause("asked for another try", None),
        ),
        (
            {"event_type": "task_dead", "reason": "no luck in 5"},
            FailureCause("given up: no luck in #", None),
        ),
    ],
)
def test_events_of_any_system_tell_the_cause(event: dict[str, Any], cause: FailureCause) -> None:
    assert cause_of_event(event) == cause


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        ("task_exception", True),
        ("task_timed_out", True),
        ("task_exited", True),
        ("task_dead", True),
        ("task_completed", False),
        ("task_aborted", False),
        ("fatal_exception", False),
        ("keep_alive", False),
        ("something new", False),
        (None, False),
        (["task_exception"], False),
    ],
)
def test_what_was_done_to_a_task_is_no_failure_of_it(kind: Any, failed: bool) -> None:
    assert is_failure({"event_type": kind}) is failed


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
VALUES = st.recursive(ODD, lambda inner: st.lists(inner, max_size=2))
KINDS = st.sampled_from(
    ["task_exception", "task_exited", "task_aborted", "task_completed", "task_dead", "no such"]
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["exception", "exit_code", "hint", "reason", "retry", "traceback"]), VALUES
    ),
    KINDS | VALUES,
)
def test_nothing_in_an_event_is_too_odd(fields: dict[str, Any], kind: Any) -> None:
    cause = cause_of_event({**fields, "event_type": kind})
    assert cause.text
    assert "\n" not in cause.text
    is_failure({"event_type": kind})


def test_an_exit_code_beyond_all_reason_is_not_told() -> None:
    event = {"event_type": "task_exited", "exit_code": 10**5000}
    assert cause_of_event(event).text == "its process ended"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("file 12 of 400", "file # of #"),
        ("x = 1.5e-07", "x = #"),
        ("at 0x7f3cab12", "at #"),
        ("v2", "v#"),
    ],
)
def test_numbers_are_all_alike(text: str, line: str) -> None:
    assert folded(text) == line


def test_a_cause_is_found_in_microseconds_and_not_in_milliseconds() -> None:
    event = {"event_type": "task_exception", "exception": TRACEBACK * 20}
    # By the work of this thread: a busy machine may put it aside for seconds.
    began = time.thread_time()
    for _ in range(1000):
        cause_of_event(event)
    assert time.thread_time() - began < 2
