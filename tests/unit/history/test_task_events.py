from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.history.task_events import EndWatch, events_of
from cloud_tasks.timestamps import timestamp, timestamp_or_none


def line(task_id: str, when: float = 100.0, **fields: Any) -> str:
    event = {"timestamp": timestamp(when), "hostname": "h", "event_type": "task_completed"}
    return json.dumps({**event, "task_id": task_id, **fields}) + "\n"


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


@pytest.mark.parametrize("task_id", ["a", 'q"uoted', "two\nlines", "grüße", "\ud800"])
def test_events_of_a_task_are_found_among_others(tmp_path: Path, task_id: str) -> None:
    log = tmp_path / "events.log"
    log.write_text(
        line("b")
        + line(task_id, n=1)
        + line("b", result={"task_id": task_id})
        + f"{json.dumps(task_id)} is no event\n[{json.dumps(task_id)}]\n"
        + line(task_id, n=2, event_type="something_else")
        + line(task_id, n=3)
        + line(task_id, n=4)[:-9]
    )
    assert [event["n"] for event in events_of(log, task_id)] == [1, 3]


def test_text_that_is_not_escaped_is_found_as_well(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    log.write_text('{"event_type": "task_exited", "task_id": "grüße"}\n', encoding="utf-8")
    assert len(list(events_of(log, "grüße"))) == 1


def test_a_compressed_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "events.log.gz"
    log.write_bytes(gzip.compress((line("a") + line("b")).encode()))
    assert len(list(events_of(log, "b"))) == 1


def test_a_log_that_is_not_there_has_no_events(tmp_path: Path) -> None:
    assert not list(events_of(tmp_path / "gone", "a"))
    assert not EndWatch(tmp_path / "gone", "a", None, 0.0).has_come()


def test_the_end_is_seen_when_it_comes_and_not_that_of_an_earlier_try(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    log.write_text(line("a", 99.0))
    watch = EndWatch(log, "a", None, 100.0)
    assert not watch.has_come()
    append(log, line("b", 101.0))
    assert not watch.has_come()
    append(log, line("a", 102.0)[:30])
    assert not watch.has_come()
    append(log, line("a", 102.0)[30:])
    assert watch.has_come()


def test_the_end_of_a_task_of_the_same_name_in_another_slot_is_not_it(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    watch = EndWatch(log, "a", 1, 100.0)
    log.write_text(line("a", 101.0, slot=0))
    assert not watch.has_come()
    append(log, line("a", 101.0, slot=1))
    assert watch.has_come()


def of_worker(kind: str, worker: str, when: float) -> str:
    event = {"timestamp": timestamp(when), "hostname": "h", "event_type": kind}
    return json.dumps({**event, "event_id": f"{worker}-1", "worker": worker}) + "\n"


def test_a_task_is_over_when_the_worker_that_ran_it_has_stopped(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    log.write_text(
        of_worker("worker_started", "old", 10.0)
        + of_worker("worker_stopped", "old", 20.0)
        + of_worker("worker_started", "x", 90.0)
        + of_worker("worker_started", "y", 91.0)
    )
    watch = EndWatch(log, "a", None, 100.0)
    assert not watch.has_come()
    append(log, of_worker("worker_started", "later", 101.0))
    append(log, of_worker("worker_stopped", "later", 102.0))
    assert not watch.has_come()
    append(log, of_worker("worker_stopped", "y", 103.0))
    assert not watch.has_come()
    append(log, of_worker("worker_stopped", "x", 104.0))
    assert watch.has_come()


def test_the_end_is_seen_in_a_log_that_was_cut(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    log.write_text(line("b") * 50)
    watch = EndWatch(log, "a", None, 100.0)
    assert not watch.has_come()
    log.write_text(line("a", 101.0))
    assert watch.has_come()


def test_an_event_that_is_made_late_tells_of_the_try_that_it_began_with(tmp_path: Path) -> None:
    log = tmp_path / "events.log"
    watch = EndWatch(log, "a", None, 100.0)
    log.write_text(line("a", 100.5, started=timestamp(98.0), run_time=1.9))
    assert not watch.has_come()
    append(log, line("a", 110.0, started=timestamp(99.9), run_time=5))
    assert watch.has_come()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:01:40.000000+00:00", 100.0),
        ("1970-01-01T00:01:40.000000Z", 100.0),
        ("1970-01-01T00:01:40", 100.0),
        ("1970-01-01T01:01:40+01:00", 100.0),
        ("yesterday", None),
        ("", None),
        (5, None),
        (None, None),
    ],
)
def test_timestamps_of_any_kind_are_read(text: Any, seconds: float | None) -> None:
    assert timestamp_or_none(text) == seconds
