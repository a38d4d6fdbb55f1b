"""Turn a tally into the curves of a report: plain lists, for programs and for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from cloud_tasks.histogram import FINENESS, Histogram
from cloud_tasks.report.tally.attempts import short_text
from cloud_tasks.report.tally.rows import Row
from cloud_tasks.report.tally.tally import Tally

SHARES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
#: Digits of a shade, from idle to busy all the time.
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
#: Cells of the timeline: with many rows it has fewer columns.
_CELLS = 131_072
#: Characters of the id of an attempt that is listed alone.
_LONGEST_ID = 60


def distribution(histogram: Histogram) -> dict[str, float | int]:
    """Return count, percentiles, mean and extremes; of an empty histogram only the count."""
    if not histogram.count:
        return {"count": 0}
    values = histogram.percentiles(list(SHARES.values()))
    return {
        "count": histogram.count,
        "min": _round(histogram.least),
        **{name: _round(value) for name, value in zip(SHARES, values, strict=True)},
        "max": _round(histogram.most),
        "mean": _round(histogram.total / histogram.count),
    }


def buckets(**histograms: Histogram) -> dict[str, Any]:
    """Return histograms over the same buckets, with the count of each bucket.

    Empty buckets between others are included, so that bars stand side by side.
    """
    used = {bucket for histogram in histograms.values() for bucket in histogram.buckets}
    span = range(min(used), max(used) + 1) if used else range(0)
    counts = {
        name: [histogram.buckets.get(bucket, 0) for bucket in span]
        for name, histogram in histograms.items()
    }
    # The page computes the middle of a bucket as exp(number / fineness).
    return {"fineness": FINENESS, "first": span.start if used else 0, "counts": counts}


def over_time(tally: Tally) -> dict[str, Any]:
    """Return the counts in each bucket of time.

    ``running`` is the average number of attempts that ran at once; the others count ends.
    """
    axis = tally.axis
    used = axis.used
    running = [0.0] * used
    for row in tally.rows:
        for bucket, seconds in enumerate(row.busy[:used]):
            if seconds:
                running[bucket] += seconds
    return {
        "origin": axis.origin,
        "width": axis.width,
        "ok": tally.ok_track[:used].tolist(),
        "not_done": tally.not_done_track[:used].tolist(),
        "put_back": tally.put_back_track[:used].tolist(),
        "running": [round(seconds / axis.width, 2) for seconds in running],
    }


def timeline(tally: Tally) -> dict[str, Any]:
    """Return the busy times: a row for each slot, or for each host where there are too many.

    ``shades`` of a row has one character for each column, a digit of base 36: ``0`` is idle, ``z``
    is busy all the time. ``failed`` are the columns in which an attempt failed. ``worker_number``
    counts the workers of a host that had several.
    """
    axis = tally.axis
    began: dict[tuple[str, str | None], float] = {}
    for row in tally.rows:
        key = row.host, row.worker
        began[key] = min(row.first, began.get(key, row.first))
    rows = sorted(tally.rows, key=lambda row: _by_name(row, began))
    numbers = _numbers(began)
    join = 1
    while rows and axis.used // join * len(rows) > _CELLS:
        join *= 2
    return {
        "origin": axis.origin,
        "width": axis.width * join,
        "columns": -(-axis.used // join),
        "by_host": tally.rows.by_host,
        "rows": [
            {
                **_row(row, axis.used, axis.width * join, join),
                "worker_number": numbers.get((row.host, row.worker)),
            }
            for row in rows
        ],
    }


def _by_name(
    row: Row, began: Mapping[tuple[str, str | None], float]
) -> tuple[str, float, bool, int]:
    slot = -1 if row.slot is None else row.slot
    return row.host, began[row.host, row.worker], row.rebuilt, slot


def _numbers(began: Mapping[tuple[str, str | None], float]) -> dict[tuple[str, str | None], int]:
    """Return the number of each worker on its host, from 1, where the host had several."""
    hosts = Counter(host for host, _ in began)
    counted: Counter[str] = Counter()
    numbers = {}
    for host, worker in sorted(began, key=lambda key: began[key]):
        if hosts[host] > 1:
            counted[host] += 1
            numbers[host, worker] = counted[host]
    return numbers


def _row(row: Row, used: int, width: float, join: int) -> dict[str, Any]:
    full = width * max(1, len(row.slots) if row.slot is None else 1)
    sums = (sum(row.busy[at : at + join]) for at in range(0, used, join))
    return {
        "number": row.number,
        "host": row.host,
        "worker": row.worker,
        "slot": row.slot,
        "rebuilt": row.rebuilt,
        "slots": len(row.slots),
        "busy_seconds": round(row.busy_seconds, 3),
        "shades": "".join(_shade(busy / full) for busy in sums),
        "failed": sorted({at // join for at, flag in enumerate(row.failed[:used]) if flag}),
    }


def _shade(share: float) -> str:
    """Return the digit of *share*; any work at all has another digit than none."""
    if share <= 0:
        return _DIGITS[0]
    return _DIGITS[max(1, min(35, round(35 * share)))]


def singles(tally: Tally) -> list[list[Any]] | None:
    """Return the attempts one by one; None: there are too many.

    Each is a list: number of its row, start in seconds from the origin of the timeline, duration
    in seconds, task id, number of the attempt, and 1 if it failed.
    """
    single, origin = tally.single, tally.axis.origin
    if single is None or origin is None:
        return None
    return [
        [
            number,
            round((one.start or origin) - origin, 4),
            round((one.end or origin) - (one.start or origin), 4),
            short_text(one.task_id, _LONGEST_ID),
            one.number or 0,
            int(one.failed),
        ]
        for number, one in single
    ]


def _round(value: float) -> float:
    """Return *value* with six significant digits."""
    return float(f"{value:.6g}")
