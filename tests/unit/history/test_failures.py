from __future__ import annotations

import tracemalloc
from typing import Any

from cloud_tasks.history.failures import FailedTasks, TaskKey


def event(kind: str, task_id: Any = "t1", **fields: Any) -> dict[str, Any]:
    """Return an event as the older system writes it."""
    return {
        "timestamp": "2026-11-21T10:00:00.000000+00:00",
        "hostname": "h",
        "event_type": f"task_{kind}",
        "task_id": task_id,
        "elapsed_time": 0.1,
        "retry": False,
        **fields,
    }


def read(*events: dict[str, Any]) -> FailedTasks:
    failed = FailedTasks()
    failed.read(events)
    return failed


def causes(failed: FailedTasks) -> dict[str, int]:
    return {group.cause.text: group.count for group in failed.groups()}


def test_failures_are_together_by_their_cause_the_most_frequent_first() -> None:
    failed = read(
        event("timed_out", "a"),
        *(event("exception", f"b{n}", exception=f"ValueError: no {n}") for n in range(3)),
        event("exited", "c", exit_code=-9),
        event("exited", "d", exit_code=-9),
    )
    assert list(causes(failed).items()) == [
        ("ValueError: no #", 3),
        ("killed by signal 9 (SIGKILL)", 2),
        ("ran too long", 1),
    ]
    assert [group.number for group in failed.groups()] == [1, 2, 3]
    assert failed.groups()[0].examples == ["b0", "b1", "b2"]


def test_one_text_raised_in_two_places_is_two_causes() -> None:
    text = 'Traceback (most recent call last):\n  File "/w/f.py", line {}, in f\n    x\nE: y\n'
    failed = read(
        event("exception", "a", exception=text.format(1)),
        event("exception", "b", exception=text.format(2)),
    )
    assert [group.cause.where for group in failed.groups()] == ["f.py:1 in f", "f.py:2 in f"]


def test_a_later_completion_takes_a_failure_away() -> None:
    failed = read(event("timed_out"), event("completed", result=1))
    assert failed.count == 0
    assert failed.groups() == []


def test_a_later_failure_takes_a_completion_away() -> None:
    failed = read(event("completed", result=1), event("timed_out"))
    assert failed.count == 1


def test_of_several_failures_the_last_counts() -> None:
    failed = read(event("timed_out"), event("exited", exit_code=3))
    assert causes(failed) == {"exit code 3": 1}


def test_tasks_of_one_id_are_told_apart_by_their_data() -> None:
    failed = read(
        event("timed_out", data_digest="one"),
        event("timed_out", data_digest="two"),
        event("completed", data_digest="one"),
    )
    assert [key for key, _ in failed.of(failed.groups())] == [TaskKey("t1", "two")]


def test_a_completion_with_a_digest_ends_a_failure_that_had_none() -> None:
    failed = read(event("timed_out"), event("completed", data_digest="one"))
    assert failed.count == 0


def test_what_is_to_be_run_again_is_no_failure() -> None:
    failed = read(
        event("aborted", "a", reason="spot"),
        event("completed", "b", retry=True),
        event("completed", "c", retry=True),
        event("aborted", "d", reason="spot"),
        event("completed", "d"),
    )
    assert failed.count == 0
    assert failed.to_run_again() == {"asked for another try": 2, "aborted: spot": 1}


def test_a_failure_that_is_then_aborted_is_to_be_run_again() -> None:
    failed = read(event("timed_out"), event("aborted", reason="spot"))
    assert (failed.count, failed.to_run_again()) == (0, {"aborted: spot": 1})


def test_a_task_that_was_given_up_keeps_the_cause_of_its_failure() -> None:
    failed = read(event("timed_out"), event("dead", attempts=5, reason="ran longer than 3 s"))
    assert causes(failed) == {"ran too long": 1}


def test_a_task_that_was_given_up_after_a_completion_has_failed() -> None:
    failed = read(
        event("completed", retry=False), event("dead", attempts=5, reason="asked for another try")
    )
    assert causes(failed) == {"given up: asked for another try": 1}


def test_first_and_last_are_those_of_the_tasks_that_are_failed_now() -> None:
    failed = read(
        event("timed_out", "a", timestamp="1"),
        event("timed_out", "b", timestamp="2"),
        event("timed_out", "c", timestamp="3"),
        event("timed_out", "b", timestamp="4"),
        event("completed", "a", timestamp="5"),
    )
    (group,) = failed.groups()
    assert (group.first, group.last, group.examples) == ("3", "4", ["c", "b"])


def test_values_of_the_wrong_type_are_no_trouble() -> None:
    failed = read(
        event("timed_out", 7, data_digest=5, timestamp=[1]),
        event("timed_out", None),
        event("timed_out", ["x"]),
        {"event_type": ["task_exited"], "task_id": "x"},
        {"event_type": "fatal_exception", "exception": "x"},
        {},
    )
    assert [key for key, _ in failed.of(failed.groups())] == [TaskKey("7", None)]
    assert failed.nameless == 2
    assert failed.groups()[0].first is None


def test_what_is_done_takes_no_memory_and_what_failed_takes_little() -> None:
    many, failing = 20_000, 5_000
    text = "Traceback (most recent call last):\n" + "x" * 5000 + "\nValueError: no {}\n"
    tracemalloc.start()
    failed = FailedTasks()
    for n in range(many):
        failed.add(event("completed", f"task-{n:07}", result="x" * 1000, data_digest=f"d{n:011}"))
    for_done = tracemalloc.get_traced_memory()[0]
    for n in range(failing):
        failed.add(
            event("exception", f"fail-{n:07}", exception=text.format(n), data_digest=f"d{n:011}")
        )
    for_failed = tracemalloc.get_traced_memory()[0] - for_done
    tracemalloc.stop()
    assert failed.count == failing
    assert for_done < 100_000
    assert for_failed < failing * 600
