"""Record when each slot was busy: a row for each slot of each worker.

With more than 512 slots a row is a host, with more than 512 hosts the last row is all others. Where
the log has no slot numbers, as in the older system, :class:`Lanes` makes them up.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from operator import add, or_
from typing import TypeAlias

from cloud_tasks.report.tally.time_axis import TimeAxis
from cloud_tasks.report.tally.workers import MAX_SLOTS

#: With more slots there is a row a host, and with more hosts one for all others.
MAX_ROWS = 512
OTHER_HOSTS = "other hosts"
#: Seconds by which an attempt may begin before the recorded end of the previous one in its lane.
_OVERLAP = 0.01


#: Host, worker, slot, and whether that is made up.
_Key: TypeAlias = tuple[str, "str | None", "int | None", bool]


@dataclass(slots=True)
class Row:
    """One slot of a worker, or a whole host where there are too many slots.

    Attributes:
        host: its name.
        worker: its id; None: of the older system, or a whole host.
        slot: its number; None: all of the host's.
        rebuilt: the log has no slot numbers; this one is made up.
        busy: seconds of work in each bucket of the axis.
        failed: buckets in which an attempt failed.
        number: of the rows that were made before it.
        slots: the worker and the number of each slot that this row stands for.
        first, last: beginning and end of its work.
        busy_seconds: of work in all.
    """

    host: str
    worker: str | None
    slot: int | None
    rebuilt: bool
    busy: array[float]
    failed: array[int]
    number: int
    slots: set[tuple[str | None, int]]
    first: float = float("inf")
    last: float = 0.0
    busy_seconds: float = 0.0


class Lanes:
    """Made-up slots of one worker, for attempts whose slot the log doesn't tell.

    Attempts come in the order in which they ended. Each goes to the lane that was free for the
    shortest time, so that no more lanes are made than attempts ran at once.
    """

    def __init__(self) -> None:
        self._free: list[tuple[float, int]] = []

    def place(self, start: float, end: float) -> int:
        """Return the number of the lane for an attempt from *start* to *end*."""
        at = bisect_right(self._free, (start + _OVERLAP, MAX_SLOTS))
        if not at and len(self._free) >= MAX_SLOTS:
            at = 1
        lane = self._free.pop(at - 1)[1] if at else len(self._free)
        insort(self._free, (end, lane))
        return lane


class Rows:
    """All rows; their number is bounded.

    Attributes:
        by_host: a row stands for all slots of a host, because there were too many.
    """

    def __init__(self, axis: TimeAxis, limit: int = MAX_ROWS) -> None:
        self.by_host = False
        self._axis = axis
        self._limit = limit
        self._rows: dict[_Key, Row] = {}
        self._lanes: dict[tuple[str, str | None], Lanes] = {}

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        host: str,
        worker: str | None,
        slot: int | None,
        start: float,
        end: float,
        failed: bool,
    ) -> tuple[Row, int]:
        """Add an attempt from *start* to *end*; return its row and the number of its slot.

        *worker* and *slot* are None where the log doesn't tell.
        """
        rebuilt = slot is None
        if slot is None:
            slot = self._lane(host, worker, start, end)
        row = self._row(host, worker, slot, rebuilt)
        axis = self._axis
        axis.cover(start, end)
        first, last = axis.index(start), axis.index(end)
        begin = start
        if start < row.last < end and not self.by_host:
            begin = row.last  # the previous end was recorded a little late; count no time twice
        if first == last:
            row.busy[last] += end - begin
        else:
            self._spread(row.busy, begin, end)
        row.busy_seconds += end - begin
        if start < row.first:
            row.first = start
        if end > row.last:
            row.last = end
        if failed:
            row.failed[last] = 1
        return row, slot

    def _spread(self, busy: array[float], start: float, end: float) -> None:
        axis = self._axis
        origin, width = axis.origin, axis.width
        assert origin is not None
        first, last = axis.index(start), axis.index(end)
        for bucket in range(first, last + 1):
            left = origin + bucket * width
            part = min(end, left + width) - max(start, left)
            if part > 0:
                busy[bucket] += part

    def _lane(self, host: str, worker: str | None, start: float, end: float) -> int:
        lanes = self._lanes.get((host, worker))
        if lanes is None:
            if len(self._lanes) >= self._limit:
                return 0
            lanes = self._lanes[host, worker] = Lanes()
        return lanes.place(start, end)

    def _row(self, host: str, worker: str | None, slot: int, rebuilt: bool) -> Row:
        key = _of_host(host) if self.by_host else (host, worker, slot, rebuilt)
        row = self._rows.get(key)
        if row is None:
            row = self._new(host, worker, slot, rebuilt)
        if self.by_host and len(row.slots) < MAX_SLOTS:
            row.slots.add((worker, slot))
        return row

    def _new(self, host: str, worker: str | None, slot: int, rebuilt: bool) -> Row:
        if len(self._rows) >= self._limit and not self.by_host:
            self._join()
        if not self.by_host:
            return self._make((host, worker, slot, rebuilt), {(worker, slot)})
        if len(self._rows) >= self._limit and _of_host(host) not in self._rows:
            host = OTHER_HOSTS
        return self._rows.get(_of_host(host)) or self._make(_of_host(host), set())

    def _make(self, key: _Key, slots: set[tuple[str | None, int]]) -> Row:
        axis, number = self._axis, len(self._rows)
        row = self._rows[key] = Row(*key, axis.sums(), axis.flags(), number, slots)
        return row

    def _join(self) -> None:
        """Join the rows of each host into one."""
        self.by_host = True
        slots, self._rows = list(self._rows.values()), {}
        for slot in slots:
            key = _of_host(slot.host)
            row = self._rows.get(key) or self._make(key, set())
            row.busy[:] = array("d", map(add, row.busy, slot.busy))
            row.failed[:] = array("B", map(or_, row.failed, slot.failed))
            row.slots |= slot.slots
            row.first, row.last = min(row.first, slot.first), max(row.last, slot.last)
            row.busy_seconds += slot.busy_seconds
            self._axis.forget(slot.busy)
            self._axis.forget(slot.failed)


def _of_host(host: str) -> _Key:
    """Return the key of the row that stands for all slots of *host*."""
    return host, None, None, False
