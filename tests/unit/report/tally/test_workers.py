"""Several workers in one log: on one host at once, one after the other, killed, of old versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from unit.report.logs import BEGAN, documented, old, ours, tallied, write

from cloud_tasks.report.tally.idle import gaps, last_beginning, tail
from cloud_tasks.report.tally.workers import Workers
from cloud_tasks.timestamps import timestamp


def of(worker: str, end: float, seconds: float = 1.0, slot: int = 0, **more: Any) -> dict[str, Any]:
    return ours(end, seconds, event_id=f"{worker}-{end:g}", slot=slot, **more)


def started(worker: str, at: float, **more: Any) -> dict[str, Any]:
    return told("worker_started", worker, at, slots=1, **more)


def stopped(worker: str, at: float, **more: Any) -> dict[str, Any]:
    return told("worker_stopped", worker, at, **{"reason": "done", "exit_code": 0, **more})


def told(kind: str, worker: str, at: float, **more: Any) -> dict[str, Any]:
    return {
        "timestamp": timestamp(BEGAN + at),
        "hostname": "a",
        "event_type": kind,
        "worker": worker,
        "event_id": f"{worker}-{kind}",
        **more,
    }


def steady(worker: str, begin: int, end: int, slot: int = 0) -> list[dict[str, Any]]:
    return [of(worker, n + 1, slot=slot) for n in range(begin, end)]


def test_three_workers_on_one_host_have_three_rows(tmp_path: Path) -> None:
    log = write(tmp_path / "log", *(e for w in "xyz" for e in steady(w, 0, 10)))
    document = documented(log)
    rows = document["timeline"]["rows"]
    assert [(row["worker"], row["worker_number"], row["slot"]) for row in rows] == [
        ("x", 1, 0),
        ("y", 2, 0),
        ("z", 3, 0),
    ]
    (host,) = document["hosts"]
    assert (host["slots"], host["workers"], host["busy"]) == (3, 3, 1.0)
    assert (document["totals"]["slots"], document["totals"]["busy"]) == (3, 1.0)


def test_runs_one_after_the_other_use_one_slot(tmp_path: Path) -> None:
    log = write(tmp_path / "log", *steady("x", 0, 10), *steady("y", 90, 100))
    document = documented(log)
    (host,) = document["hosts"]
    assert (host["slots"], host["workers"], host["seconds"], host["busy"]) == (1, 2, 20, 1.0)
    assert document["gaps"] == []


def test_one_worker_needs_no_number(tmp_path: Path) -> None:
    document = documented(write(tmp_path / "log", *steady("x", 0, 3), *steady("x", 0, 3, 1)))
    assert [row["worker_number"] for row in document["timeline"]["rows"]] == [None, None]


RUNS: dict[str, tuple[list[dict[str, Any]], float | None]] = {
    "one": ([started("x", 0), *steady("x", 1, 9), stopped("x", 9)], None),
    "one that was killed": ([started("x", 0), *steady("x", 1, 9)], None),
    "two": (
        [started("x", 0), *steady("x", 0, 5), stopped("x", 5), started("y", 6), *steady("y", 6, 9)],
        6,
    ),
    "two, the first killed": (
        [started("x", 0), *steady("x", 0, 5), started("y", 6), *steady("y", 6, 9), stopped("y", 9)],
        6,
    ),
    "the second had no task": ([*steady("x", 0, 5), started("y", 6), stopped("y", 7)], 6),
    "two at once": (
        [started("x", 0), started("y", 1), *steady("x", 1, 5), *steady("y", 1, 9)],
        None,
    ),
    "a long time without tasks": (
        [started("x", 0), *steady("x", 0, 5), *steady("x", 900, 905), stopped("x", 905)],
        None,
    ),
    "one joins while another waits": (
        [
            *(started("x", 0), *steady("x", 0, 5), started("y", 50), *steady("y", 50, 55)),
            *(stopped("x", 60), stopped("y", 60)),
        ],
        None,
    ),
    "an old version before": ([*steady("w", 0, 5), started("x", 6), *steady("x", 6, 9)], 6),
    "the older system before": ([old(5, 1), started("x", 6), *steady("x", 6, 9)], 6),
    "old versions only": ([*steady("v", 0, 5), *steady("w", 500, 505)], 500),
    "old versions only, close": ([*steady("v", 0, 5), *steady("w", 5, 10)], None),
}


@pytest.mark.parametrize("name", RUNS)
def test_where_the_last_run_of_a_log_begins(name: str) -> None:
    events, begin = RUNS[name]
    tally = tallied(*events)
    found = last_beginning(tally.rows, tally.axis, tally.workers)
    assert found == (None if begin is None else pytest.approx(BEGAN + begin, abs=1))


def test_the_tail_is_that_of_the_workers_of_the_last_run() -> None:
    tally = tallied(
        *(started("x", 0), *steady("x", 0, 5), *steady("x", 0, 5, 1), stopped("x", 5)),
        *(started("y", 6), *steady("y", 6, 9), *steady("y", 6, 12, 1), stopped("y", 12)),
    )
    found = tail(tally.rows, tally.axis, tally.workers)
    assert found is not None
    assert (found.slots, found.seconds, found.lost) == pytest.approx((2, 3, 3))


def test_slots_are_idle_only_while_their_worker_lives() -> None:
    tally = tallied(
        *(started("x", 0), *steady("x", 0, 30), stopped("x", 30)),
        *(started("y", 60), *steady("y", 80, 100), stopped("y", 100)),
    )
    (gap,) = gaps(tally.rows, tally.axis, tally.workers)
    assert (gap.start, gap.end) == pytest.approx((BEGAN + 60, BEGAN + 80), abs=0.5)


def test_the_document_lists_the_workers_and_how_they_ended(tmp_path: Path) -> None:
    log = write(
        tmp_path / "log",
        *(started("x", 0), *steady("x", 1, 3), stopped("x", 5, reason="sigterm", exit_code=143)),
        *steady("y", 8, 9),
    )
    first, second = documented(log)["workers"]
    assert (first["worker"], first["tries"], first["reason"], first["exit_code"]) == (
        *("x", 2, "sigterm", 143),
    )
    assert first["started"] == timestamp(BEGAN)
    assert first["stopped"] == timestamp(BEGAN + 5)
    assert (second["worker"], second["started"], second["stopped"]) == ("y", None, None)


def test_the_time_before_the_first_task_is_known_without_a_run_directory(tmp_path: Path) -> None:
    log = write(tmp_path / "log", started("x", 0), *steady("x", 2, 3))
    assert documented(log)["run"]["start_up"] == pytest.approx(2, abs=0.1)


def test_very_many_workers_count_as_one_each_host_in_the_end() -> None:
    workers = Workers(limit=3)
    for n in range(10):
        workers.add_attempt("a", str(n), 0, BEGAN + n, BEGAN + n + 1)
    assert sorted(one.attempts for one in workers) == [1, 1, 1, 7]


@pytest.mark.parametrize("event_id", [None, 7, "", "x", "-1", "x" * 1000 + "-1"])
def test_an_odd_id_of_an_event_is_no_trouble(event_id: object) -> None:
    tally = tallied(ours(1, 1, event_id=event_id), ours(2, 1, event_id=event_id))
    assert (tally.total, len(tally.rows)) == (2, 1)
