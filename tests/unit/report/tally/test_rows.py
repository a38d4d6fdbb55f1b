"""Time axis, rows of the timeline, lanes that are made up, and stretches without work."""

from __future__ import annotations

import random

import pytest
from unit.report.logs import BEGAN, old, ours, tallied

from cloud_tasks.report.tally.idle import EVERYWHERE, HOST, LATE, SLOT, TAIL, gaps, tail
from cloud_tasks.report.tally.rows import MAX_ROWS, Lanes
from cloud_tasks.report.tally.time_axis import BUCKETS, TimeAxis
from cloud_tasks.timestamps import plausible_timestamp


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-21T19:00:00.250000+00:00", 1_795_287_600.25),
        ("2026-11-21T19:00:00Z", 1_795_287_600.0),
        ("2026-11-21T19:00:00", 1_795_287_600.0),
        ("2026-11-21T21:00:00.500000+02:00", 1_795_287_600.5),
        ("2026-11-21", 1_795_219_200.0),
        ("1970-01-01T00:00:01.000000+00:00", None),
        ("2026-11-21T19:00:00.1e9999+00:00", None),
        ("2026-13-21T19:00:00.000000+00:00", None),
        ("", None),
        (12.5, None),
    ],
)
def test_timestamps_are_read_or_they_are_none(text: object, seconds: float | None) -> None:
    assert plausible_timestamp(text) == seconds


def test_an_axis_keeps_every_count_whatever_comes_first() -> None:
    rng = random.Random(3)
    axis = TimeAxis()
    counts, flags = axis.sums("L"), axis.flags()
    spans = [1.0, 60.0, 3600.0, 86400.0, 1e7]
    for n in range(2000):
        instant = BEGAN + rng.uniform(-1, 1) * spans[n // 400]
        axis.cover(instant, instant)
        counts[axis.index(instant)] += 1
        flags[axis.index(instant)] = 1
    assert sum(counts) == 2000
    assert {i for i, n in enumerate(counts) if n} == {i for i, f in enumerate(flags) if f}
    assert BUCKETS / 4 < axis.used <= BUCKETS


def test_what_was_counted_stays_in_the_bucket_of_its_time() -> None:
    axis = TimeAxis()
    counts = axis.sums("L")
    for instant in (100.0, 5000.0, 3.0, 9_000.0):
        axis.cover(BEGAN + instant, BEGAN + instant)
        counts[axis.index(BEGAN + instant)] += 1
    for instant in (100.0, 5000.0, 3.0, 9_000.0):
        assert counts[axis.index(BEGAN + instant)] == 1


def test_a_row_is_busy_as_long_as_its_attempts_ran() -> None:
    tally = tallied(ours(4, 3), ours(10, 5), ours(10, 2, slot=1))
    first, second = tally.rows
    assert (first.busy_seconds, second.busy_seconds) == pytest.approx((8, 2))
    assert sum(first.busy) == pytest.approx(8)
    assert (first.host, first.slot, first.rebuilt) == ("a", 0, False)
    begin = tally.axis.index(BEGAN + 4.6)
    assert first.busy[begin] == 0
    assert first.busy[tally.axis.index(BEGAN + 7)] == pytest.approx(tally.axis.width)


def test_attempts_that_are_recorded_late_do_not_overlap() -> None:
    tally = tallied(old(1, 1.0, slot=0), old(2, 1.2, slot=0))
    (row,) = tally.rows
    assert row.busy_seconds == pytest.approx(2)


def most_at_once(spans: list[tuple[float, float]]) -> int:
    changes = sorted([(end, -1) for _, end in spans] + [(start, 1) for start, _ in spans])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


@pytest.mark.parametrize("seed", range(20))
def test_lanes_are_no_more_than_ran_at_once_and_hold_one_at_a_time(seed: int) -> None:
    rng = random.Random(seed)
    spans = sorted(
        ((start := rng.uniform(0, 1000), start + rng.lognormvariate(1, 1.5)) for _ in range(500)),
        key=lambda span: span[1],
    )
    lanes = Lanes()
    held: dict[int, float] = {}
    for start, end in spans:
        lane = lanes.place(start, end)
        assert held.get(lane, 0.0) <= start + 0.01
        held[lane] = end
    assert len(held) <= most_at_once(spans)


def test_old_logs_get_a_row_for_each_that_ran_at_once() -> None:
    tally = tallied(old(1, 1), old(1.1, 1), old(2.2, 1), old(2.3, 1), old(2.4, 0.5, hostname="b"))
    assert [(row.host, row.slot, row.rebuilt) for row in tally.rows] == [
        ("a", 0, True),
        ("a", 1, True),
        ("b", 0, True),
    ]


def test_with_very_many_slots_a_row_is_a_host() -> None:
    events = [ours(n / 100, 0.005, slot=n % 600, hostname=f"h{n % 2}") for n in range(1, 1200)]
    tally = tallied(*events, ours(5, 1, "task_timed_out", hostname="h1", slot=299))
    assert not tallied(*events[: MAX_ROWS // 2]).rows.by_host
    rows = list(tally.rows)
    assert tally.rows.by_host
    assert [(row.host, row.slot, len(row.slots)) for row in rows] == [
        ("h1", None, 300),
        ("h0", None, 300),
    ]
    assert sum(row.busy_seconds for row in rows) == pytest.approx(1199 * 0.005 + 1, rel=1e-4)
    assert any(rows[0].failed)
    assert not any(rows[1].failed)


def test_stretches_without_work_have_a_likely_reason() -> None:
    def steady(slot: int, begin: int, end: int, host: str = "a") -> list[dict[str, object]]:
        return [ours(n + 1, 1, slot=slot, hostname=host) for n in range(begin, end)]

    tally = tallied(
        *steady(0, 0, 100),
        *steady(1, 20, 100),  # late
        *steady(2, 0, 70),  # a tail
        *[e for e in steady(3, 0, 100) if not 40 <= _second(e) < 55],  # no task
        *[e for e in steady(0, 0, 100, "b") if not 60 <= _second(e) < 80],  # the host
    )
    assert {(gap.host, gap.reason) for gap in gaps(tally.rows, tally.axis, tally.workers)} == {
        ("a", LATE),
        ("a", TAIL),
        ("a", SLOT),
        ("b", HOST),
    }
    both = tallied(*steady(0, 0, 30), *steady(1, 0, 30), *steady(0, 70, 100), *steady(1, 70, 100))
    (gap,) = gaps(both.rows, both.axis, both.workers)
    assert (gap.reason, gap.slots) == (EVERYWHERE, 2)
    assert gap.end - gap.start == pytest.approx(40, rel=0.02)


def _second(event: dict[str, object]) -> float:
    return float(str(event["task_id"])[2:]) - 1


def test_the_tail_begins_when_the_first_slot_has_nothing_left() -> None:
    tally = tallied(*(ours(10 + n, 9, slot=n) for n in range(4)))
    end = tail(tally.rows, tally.axis, tally.workers)
    assert end is not None
    assert (end.seconds, end.lost, end.slots) == pytest.approx((3, 6, 4))
    assert end.saving == pytest.approx(1.5)
    alone = tallied(ours(1, 1))
    assert tail(alone.rows, alone.axis, alone.workers) is None


def test_the_tail_is_that_of_the_last_run_in_the_log() -> None:
    tally = tallied(
        *(ours(10, 9, slot=n) for n in range(8)),
        ours(1000, 9, slot=0),
        ours(1002, 9, slot=1),
    )
    end = tail(tally.rows, tally.axis, tally.workers)
    assert end is not None
    assert (end.slots, end.seconds) == pytest.approx((2, 2))
