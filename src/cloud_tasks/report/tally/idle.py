"""Find the times in which slots had no work, and a probable reason for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cloud_tasks.report.tally.rows import Row, Rows
from cloud_tasks.report.tally.time_axis import TimeAxis
from cloud_tasks.report.tally.workers import Workers

#: A gap is reported if it is longer than this share of the whole time.
_LONG = 0.05
#: A bucket with less than this share of work is idle.
_WORK = 0.01
_MAX_GAPS = 20
_EVER = (float("-inf"), float("inf"))

LATE, TAIL = "not started yet", "nothing left to do"
EVERYWHERE, HOST, SLOT = "nothing ran anywhere", "nothing ran on this host", "no task for this slot"


@dataclass(frozen=True, slots=True)
class Gap:
    """Slots of one host that were idle at the same time.

    Attributes:
        host: its name.
        slots: how many of its slots.
        start, end: seconds since the epoch, to the width of a bucket.
        reason: a probable one.
    """

    host: str
    slots: int
    start: float
    end: float
    reason: str

    @property
    def lost(self) -> float:
        """Lost seconds, summed over the slots."""
        return self.slots * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a run, from the time at which the first slot had nothing left to do.

    Attributes:
        start: of it, in seconds since the epoch.
        seconds: until the last attempt ended.
        lost: idle seconds in it, summed over the slots.
        slots: the number of slots.
    """

    start: float
    seconds: float
    lost: float
    slots: int

    @property
    def saving(self) -> float:
        """Seconds by which the run would be shorter if all slots ended at the same time."""
        return self.lost / self.slots


def gaps(rows: Rows, axis: TimeAxis, workers: Workers) -> list[Gap]:
    """Return the gaps that cost most, by their cost; only the life of a worker counts."""
    if axis.origin is None:
        return []
    idle = {row.number: _idle(row, axis) for row in rows}
    lives = _lives(workers)
    found: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        lived = _within(idle[row.number], axis, *lives.get((row.host, row.worker), _EVER))
        for first, end in _stretches(lived):
            found.setdefault((row.host, first, end), []).append(row)
    made = [
        Gap(
            host,
            sum(len(row.slots) for row in idlers),
            axis.origin + first * axis.width,
            axis.origin + end * axis.width,
            _reason(idlers, list(rows), idle, first, end, axis.used),
        )
        for (host, first, end), idlers in found.items()
    ]
    return sorted(made, key=lambda gap: -gap.lost)[:_MAX_GAPS]


def _lives(workers: Workers) -> dict[tuple[str, str | None], tuple[float, float]]:
    """Return the life of each worker, by host and id, as far as it is known.

    Where a log does not tell it, that of a worker which has a host to itself is as long as the
    log: its host may have been there, without a task.
    """
    hosts = Counter(one.host for one in workers)
    lives = {}
    for one in workers:
        begin, end = one.life
        if hosts[one.host] == 1:
            begin = begin if one.started is not None else _EVER[0]
            end = end if one.stopped is not None else _EVER[1]
        lives[one.host, one.worker] = begin, end
    return lives


def _within(idle: Sequence[bool], axis: TimeAxis, begin: float, end: float) -> list[bool]:
    """Return *idle* with False for all buckets that are not wholly between *begin* and *end*."""
    origin, width = axis.origin or 0.0, axis.width
    return [
        flag and begin <= origin + (bucket + 1) * width and origin + bucket * width <= end
        for bucket, flag in enumerate(idle)
    ]


def last_beginning(rows: Rows, axis: TimeAxis, workers: Workers) -> float | None:
    """Return when the last run of the log began; None: all is one run.

    Where the log does not tell the starts of workers, it is when work resumed after the last long
    time in which no slot worked.
    """
    if workers.announced:
        return workers.last_beginning()
    if axis.origin is None or not len(rows):
        return None
    # Any work at all, however little, is part of a run.
    worked = [any(found) for found in zip(*(row.busy[: axis.used] for row in rows), strict=True)]
    all_idle = [not flag for flag in worked]
    ends = [end for first, end in _stretches(all_idle) if first and end < axis.used]
    return axis.origin + ends[-1] * axis.width if ends else None


def tail(rows: Rows, axis: TimeAxis, workers: Workers) -> Tail | None:
    """Return the tail of the run, or of the last run if the log holds several.

    None: there are fewer than two slots to compare.
    """
    began = last_beginning(rows, axis, workers) or 0.0
    last = [row for row in rows if row.last > began]
    slots = sum(len(row.slots) for row in last)
    if slots < 2:
        return None
    end = max(row.last for row in last)
    start = min(row.last for row in last)
    lost = sum((end - row.last) * len(row.slots) for row in last)
    return Tail(start, end - start, lost, slots)


def _idle(row: Row, axis: TimeAxis) -> list[bool]:
    least = _WORK * axis.width
    return [seconds < least for seconds in row.busy[: axis.used]]


def _stretches(idle: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield the first bucket and the end of each long idle stretch."""
    first: int | None = None
    for bucket, flag in enumerate([*idle, False]):
        if flag and first is None:
            first = bucket
        elif not flag and first is not None:
            if bucket - first > max(1, _LONG * len(idle)):
                yield first, bucket
            first = None


def _reason(
    idlers: list[Row], rows: list[Row], idle: dict[int, list[bool]], first: int, end: int, used: int
) -> str:
    if first == 0:
        return LATE
    if end >= used:
        return TAIL
    mine = {row.number for row in idlers}
    others = [row for row in rows if not all(idle[row.number][first:end])]
    if not others:
        return EVERYWHERE
    host = idlers[0].host
    return SLOT if any(row.host == host and row.number not in mine for row in others) else HOST
