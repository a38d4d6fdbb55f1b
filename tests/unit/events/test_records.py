from __future__ import annotations

import json
from typing import Any

import pytest
from fakes import FakeClock

from cloud_tasks.events.reading import worker_of
from cloud_tasks.events.records import Recorder
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    CrashInfo,
    Exited,
    Measures,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.task import Delivery, Task

pytestmark = pytest.mark.interpreter

HEAD = ["timestamp", "hostname", "event_type"]
TASK = [*HEAD, "task_id", "elapsed_time", "retry"]
MEASURED = ["event_id", "slot", "started", "run_time", "cpu_time", "max_rss_mb", "attempt"]
ALL = Measures(2, 1.5, 1_700_000_000.25, 1.25, 1.0, 12.34)

LEFT = CrashInfo("Fatal\n  File", "one\ntwo", 3 * 2**19, 2**31)

#: The outcome, its event's type, and the fields that only it has.
OUTCOMES: list[tuple[Outcome, str, dict[str, Any]]] = [
    (Completed(False, b'{"a": [1]}', ALL), "task_completed", {"result": {"a": [1]}}),
    (Raised("E", "text", "Trace\nE: text", ALL), "task_exception", {"exception": "Trace\nE: text"}),
    (TimedOut(3.0, ALL), "task_timed_out", {}),
    (Exited(-9, None, ALL), "task_exited", {"exit_code": -9, "signal": "SIGKILL"}),
    (Exited(3, None, ALL), "task_exited", {"exit_code": 3}),
    (
        Exited(-11, "a hint", ALL, LEFT),
        "task_exited",
        {
            "exit_code": -11,
            "signal": "SIGSEGV",
            "hint": "a hint",
            "memory_mb": 1.5,
            "free_memory_mb": 2048.0,
            "traceback": "Fatal\n  File",
            "last_output": "one\ntwo",
        },
    ),
    (TimedOut(3.0, ALL, LEFT), "task_timed_out", {"last_output": "one\ntwo"}),
    (Exited(None, None, ALL), "task_exited", {"exit_code": None}),
    (Aborted("grace over", ALL), "task_aborted", {"reason": "grace over"}),
]
HOSTILE = [
    'quote " backslash \\',
    "new\nline\r\x00",
    "\x1b[31mred\x1b[0m",
    "\u2028\u2029\x85",
    "\ud800 lone surrogate \udcff",
    "😀 grün",
    "x" * 2**20,
]


def recorder() -> Recorder:
    return Recorder(FakeClock(1_700_000_000.0), hostname="host")


def delivery(task_id: str = "a", **data: Any) -> Delivery:
    return Delivery(Task(task_id, data), attempt=3)


def one_line(event: bytes) -> dict[str, Any]:
    """Parse an event as a reader of lines would, whatever it takes for the end of a line."""
    assert event.isascii()
    assert len(event.decode().splitlines()) == 1
    parsed: dict[str, Any] = json.loads(event)
    return parsed


@pytest.mark.parametrize(("outcome", "event_type", "own"), OUTCOMES, ids=lambda v: str(v)[:20])
def test_a_task_event_has_these_keys_in_this_order(
    outcome: Outcome, event_type: str, own: dict[str, Any]
) -> None:
    event = one_line(recorder().task_event(delivery(n=1), outcome, retry=True))
    assert list(event) == [*TASK, *own, *MEASURED, "data_digest"]
    assert {key: event[key] for key in own} == own
    assert event["event_type"] == event_type
    assert (event["task_id"], event["elapsed_time"], event["retry"]) == ("a", 1.5, True)
    assert event["timestamp"] == "2023-11-14T22:13:20.000000+00:00"
    assert event["started"] == "2023-11-14T22:13:20.250000+00:00"
    measured = (event["slot"], event["run_time"], event["cpu_time"], event["max_rss_mb"])
    assert measured == (2, 1.25, 1.0, 12.3)
    assert event["attempt"] == 3


def test_a_memory_limit_is_an_exception_that_names_limit_and_use() -> None:
    outcome = OverMemory(limit=2**30, used=3 * 2**29)
    event = one_line(recorder().task_event(delivery(), outcome, retry=False))
    assert event["event_type"] == "task_exception"
    assert event["exception"].startswith("MemoryError")
    assert "1.5 GB" in event["exception"]
    assert "limit of 1 GB" in event["exception"]
    assert "last_output" not in event


def test_the_last_lines_of_a_task_over_its_memory_are_told() -> None:
    outcome = OverMemory(limit=1, used=2, crash_info=CrashInfo(last_output="last"))
    event = one_line(recorder().task_event(delivery(), outcome, retry=False))
    assert event["last_output"] == "last"


def test_what_is_not_known_is_left_out() -> None:
    plain = Delivery(Task("a", {"n": {1, 2}}))
    event = one_line(recorder().task_event(plain, Completed(False, b"1"), retry=False))
    assert list(event) == [*TASK, "result", "event_id"]


def test_other_events_have_their_keys() -> None:
    make = recorder()
    assert list(one_line(make.fatal_exception("text", "trace"))) == [
        *HEAD, "exception", "stack_trace", "event_id",
    ]  # fmt: skip
    assert one_line(make.non_fatal_exception("text"))["stack_trace"] == ""
    spot = one_line(make.spot_termination("simulated", "vm-7"))
    assert list(spot) == [*HEAD, "kind", "instance_id", "event_id"]
    assert (spot["event_type"], spot["instance_id"]) == ("spot_termination", "vm-7")


def test_a_worker_is_known_by_the_first_part_of_its_ids() -> None:
    make = Recorder(FakeClock(), "host", job_id="job")
    started = one_line(make.worker_started(4))
    assert list(started) == [*HEAD, "worker", "slots", "version", "pid", "job_id", "event_id"]
    assert (started["slots"], started["job_id"]) == (4, "job")
    stopped = one_line(make.worker_stopped(RunSummary(StopReason.SIGTERM, completed=3, elapsed=2)))
    assert list(stopped)[:8] == [
        *HEAD, "worker", "reason", "exit_code", "elapsed_time", "completed",
    ]  # fmt: skip
    assert (stopped["reason"], stopped["exit_code"], stopped["completed"]) == ("sigterm", 143, 3)
    for event in (started, stopped, one_line(make.non_fatal_exception("x"))):
        assert worker_of(event) == started["worker"] == make.worker


def test_a_lost_lease_is_told_and_only_then() -> None:
    recorder, delivery = Recorder(FakeClock(), "host"), Delivery(Task("a", {}), attempt=2)
    lost = json.loads(recorder.task_event(delivery, TimedOut(1.0), retry=False, lease_lost=True))
    assert lost["lease_lost"] is True
    assert "lease_lost" not in json.loads(recorder.task_event(delivery, TimedOut(1.0), retry=False))


def test_what_is_given_up_is_told_with_its_attempts() -> None:
    recorder = Recorder(FakeClock(), "host")
    for attempt in (5, None):
        event = json.loads(
            recorder.task_dead(Delivery(Task("a", {}), None, attempt), "exit code 3")
        )
        assert list(event)[:6] == [*HEAD, "task_id", "attempts", "reason"]
        assert (event["attempts"], event["reason"]) == (attempt, "exit code 3")


@pytest.mark.parametrize("job_id", ["job", None])
def test_a_sign_of_life_names_machine_worker_and_job_and_counts_tasks(job_id: str | None) -> None:
    make = Recorder(FakeClock(), "host", job_id=job_id)
    event = json.loads(make.keep_alive("vm-7", running=3, slots=4, waiting=2, draining=True))
    del event["event_id"]
    assert list(event.items())[3:] == [
        ("instance_id", "vm-7"),
        ("running", 3),
        ("slots", 4),
        ("waiting", 2),
        ("draining", True),
        ("worker", make.worker),
        ("job_id", job_id),
    ]


def test_every_event_of_every_run_has_an_id_of_its_own() -> None:
    runs = [recorder(), recorder()]
    events = [run.non_fatal_exception("x") for run in runs for _ in range(100)]
    assert len({one_line(event)["event_id"] for event in events}) == 200


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:20])
def test_hostile_text_stays_within_its_string(text: str) -> None:
    make = Recorder(FakeClock(), hostname=text)
    exception = one_line(make.task_event(delivery(text), Raised(text, text, text), retry=False))
    assert exception["task_id"] == exception["exception"] == exception["hostname"] == text
    assert one_line(make.task_event(delivery(text), Aborted(text), retry=True))["reason"] == text
    fatal = one_line(make.fatal_exception(text, text))
    assert fatal["exception"] == fatal["stack_trace"] == text


def test_a_result_is_spliced_in_as_it_is() -> None:
    text = b'{"big": 12345678901234567890123, "small": 1e-7}'
    event = recorder().task_event(delivery(), Completed(False, text), retry=False)
    assert b'"result": ' + text in event


def test_the_wall_clock_may_jump_without_touching_durations() -> None:
    clock = FakeClock(1_700_000_000.0)
    make = Recorder(clock)
    outcome = TimedOut(3.0, Measures(elapsed_time=3.0))
    stamps = []
    for jump in (0, 7200, -7200):
        clock.today = 1_700_000_000.0 + jump
        event = one_line(make.task_event(delivery(), outcome, retry=False))
        assert event["elapsed_time"] == 3.0
        stamps.append(event["timestamp"][11:13])
    assert stamps == ["22", "00", "20"]
