from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
from unit.report.logs import BEGAN, HOSTILE, old, ours, raised, tallied, write

from cloud_tasks.events.reading import EventReader
from cloud_tasks.report.tally.attempts import SLOWEST
from cloud_tasks.report.tally.failures import MAX_CAUSES, OTHER_CAUSES
from cloud_tasks.report.tally.tally import Tally


def test_attempts_are_counted_by_how_they_ended() -> None:
    tally = tallied(
        ours(1, 1),
        ours(2, 1, retry=True),
        ours(3, 1, "task_exception", exception=raised("x")),
        ours(4, 1, "task_exited", exit_code=-9, retry=True),
        ours(5, 1, "task_timed_out"),
        ours(6, 1, "task_aborted", reason="spot", retry=True),
        {"event_type": "task_dead", "timestamp": None},
    )
    assert (tally.total, tally.ok, tally.failed, tally.aborted, tally.put_back) == (6, 1, 3, 1, 3)
    assert tally.by_type["task_dead"] == 1
    assert [group.cause.text for group in tally.failures.ranked()] == [
        "asked for another try",
        "ValueError: x",
        "killed by signal 9 (SIGKILL)",
        "ran too long",
        "aborted: spot",
    ]


def test_the_run_time_counts_and_without_it_the_time_of_having_a_slot() -> None:
    tally = tallied(ours(2, 1.5, elapsed_time=1.9), old(5, 3.0))
    assert [one.seconds for one in tally.slowest.ranked()] == [3.0, 1.5]
    assert tally.span() == pytest.approx((BEGAN + 0.5, BEGAN + 5))


def test_only_the_slowest_are_kept_in_order() -> None:
    lengths = list(range(1, 3 * SLOWEST))
    random.Random(1).shuffle(lengths)
    tally = tallied(*(ours(1000 + n, n) for n in lengths))
    assert [one.seconds for one in tally.slowest.ranked()] == list(
        range(3 * SLOWEST - 1, 2 * SLOWEST - 1, -1)
    )


def test_single_attempts_are_kept_while_there_are_few() -> None:
    events = [ours(n, 0.5) for n in range(1, 5)]
    kept = tallied(*events, max_single=4).single
    assert kept is not None
    assert [one.task_id for _, one in kept] == ["t-1", "t-2", "t-3", "t-4"]
    assert tallied(*events, max_single=3).single is None


def test_failures_of_one_cause_are_together_with_examples_hosts_and_times() -> None:
    events = [
        ours(n, 1, "task_exception", exception=raised(f"bad {n}"), hostname="ab"[n % 2])
        for n in range(1, 9)
    ]
    (group,) = tallied(*events).failures.ranked()
    assert (group.cause.text, group.cause.where, group.count) == (
        "ValueError: bad #",
        "pipeline.py:12 in process_task",
        8,
    )
    assert group.examples == ["t-1", "t-2", "t-3", "t-4", "t-5"]
    assert group.hosts == {"a": 4, "b": 4}
    assert (group.first, group.last) == pytest.approx((BEGAN + 1.001, BEGAN + 8.001))
    assert group.traceback == raised("bad 1")


def word(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


def test_ten_thousand_causes_are_a_thousand_and_the_others() -> None:
    tally = tallied(
        *(
            ours(n, 0.5, "task_exception", exception=f"Oops: {word(n)}\n", slot=n % 4)
            for n in range(10_000)
        )
    )
    groups = tally.failures.ranked()
    assert len(groups) == MAX_CAUSES + 1
    assert (groups[-1].cause, groups[-1].count) == (OTHER_CAUSES, 9000)
    assert sum(group.count for group in groups) == tally.failed == 10_000


def test_a_later_attempt_that_is_done_rescues_a_task() -> None:
    tally = tallied(
        *(ours(n, 1, "task_exited", exit_code=1, task_id=f"t{n}") for n in range(4)),
        ours(10, 1, "task_exited", exit_code=1, task_id="t1"),
        ours(11, 1, task_id="t0"),
        ours(12, 1, task_id="t1"),
    )
    attempts = tally.attempts
    assert (attempts.not_done, attempts.rescued) == (2, 2)
    assert attempts.by_number == {1: [0, 4], 2: [1, 1], 3: [1, 0]}


def test_the_logs_own_number_of_an_attempt_counts_more() -> None:
    tally = tallied(ours(1, 1, attempt=3), ours(2, 1, "task_timed_out", attempt=2))
    assert tally.attempts.by_number == {3: [1, 0], 2: [0, 1]}


def test_nobody_is_told_a_number_that_nobody_knows() -> None:
    tally = tallied(*(ours(n, 0.1, "task_timed_out") for n in range(20_001)))
    assert tally.attempts.not_done is None
    tally.add(ours(30_000, 0.1))
    assert tally.attempts.unknown == 1


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 10**400, math.nan, math.inf, "", "x", [], {"a": []}, HOSTILE, "9999-99-99"],
    ids=repr,
)
def test_a_value_of_no_sense_is_no_trouble(value: Any) -> None:
    for key in ours(1, 1):
        tally = tallied(ours(1, 1), {**ours(2, 1, "task_exception"), key: value}, ours(3, 1))
        assert tally.ok == 2, key
        span = tally.span()
        assert span is not None
        assert span[1] - span[0] == pytest.approx(3, abs=0.1), key


def test_events_without_keys_count() -> None:
    tally = tallied({}, {"event_type": "task_completed"}, {"event_type": ["list"]})
    assert (tally.total, tally.ok, tally.untimed) == (1, 1, 1)
    assert tally.span() is None


def test_lines_that_are_no_events_are_counted_by_the_reader(tmp_path: Path) -> None:
    log = write(
        tmp_path / "events.log",
        ours(1, 1),
        b"not json\n[1]\n\n",
        {"event_type": "task_teleported", "task_id": "x"},
        ours(2, 1),
        b'{"timestamp": "torn',
    )
    reader = EventReader(log)
    tally = Tally().read(reader)
    assert tally.ok == 2
    assert (reader.not_json, reader.torn, reader.unknown) == (2, True, {"task_teleported": 1})


def test_notices_and_problems_of_the_worker_are_kept() -> None:
    tally = tallied(
        ours(1, 1),
        {**ours(2, 0), "event_type": "spot_termination", "kind": "rebalance"},
        {**ours(3, 0), "event_type": "fatal_exception", "exception": "E", "stack_trace": "T"},
    )
    assert [(note.kind, note.text, note.trace) for note in tally.notes] == [
        ("spot_termination", "rebalance", ""),
        ("fatal_exception", "E", "T"),
    ]
    assert tally.hosts["a"].notices == 1


def test_earlier_events_can_be_left_out() -> None:
    tally = tallied(ours(1, 1), ours(10, 1), ours(20, 1), since=BEGAN + 5)
    assert (tally.ok, tally.skipped) == (2, 1)


def test_ids_of_any_length_are_cut() -> None:
    tally = tallied(ours(1, 1, task_id="x" * 10_000))
    assert len(tally.slowest.ranked()[0].task_id) == 500


def test_very_many_hosts_are_counted_together_in_the_end() -> None:
    tally = tallied(*(ours(n / 10, 0.05, hostname=f"h{n}") for n in range(1, 2001)))
    assert len(tally.hosts) == 513
    assert len(tally.rows) == 513
    assert sum(host.attempts for host in tally.hosts.values()) == 2000
    assert sum(row.busy_seconds for row in tally.rows) == pytest.approx(100)
