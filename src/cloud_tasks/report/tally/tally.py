"""One pass over an event log that keeps what a report needs, in memory that does not grow.

What is counted are *tries*: events that tell how one try of a task ended. A task that was put
back, given to a second worker or run again by ``--resume`` has several, and one that was done
twice counts as done twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cloud_tasks.events.reading import TASK_EVENTS
from cloud_tasks.histogram import Histogram
from cloud_tasks.report.tally.failures import Failures, Tries
from cloud_tasks.report.tally.rows import MOST_ROWS, OTHER_HOSTS, Rows
from cloud_tasks.report.tally.time_axis import TimeAxis
from cloud_tasks.report.tally.tries import Slowest, Try, read_try, text
from cloud_tasks.timestamps import PlausibleTimestamps

#: Tries that are kept one by one; of more there are only counts.
MOST_SINGLE = 20_000
#: Notices, and problems of the worker's own, that are kept.
_MOST_NOTES = 200
_LONGEST_TEXT = 2000
#: Shorter runs say little about the share of time that was computing.
_SHORTEST_FOR_CPU = 0.01
#: Events of the worker itself, and what they have to say.
_NOTED = {
    "spot_termination": ("kind", ""),
    "non_fatal_exception": ("exception", "stack_trace"),
    "fatal_exception": ("exception", "stack_trace"),
}
_COUNTED = frozenset({"task_dead", "keep_alive"})


@dataclass(frozen=True, slots=True)
class Note:
    """Something that happened to a worker: a notice, or a problem.

    Attributes:
        when: seconds since the epoch; None: the log doesn't tell.
        host: of the worker.
        kind: the event's type.
        text, trace: what it says.
    """

    when: float | None
    host: str
    kind: str
    text: str
    trace: str


@dataclass(slots=True)
class HostTally:
    """What one host did.

    Attributes:
        tries, ok, failed: how many tries there were, were done, and failed.
        notices: that the host will be taken away.
    """

    tries: int = 0
    ok: int = 0
    failed: int = 0
    notices: int = 0


class Tally:
    """Counts events.

    Attributes:
        by_type: events of each known type.
        tries: ends of tries.
        ok, failed, aborted, again: of them, those whose task is done; that failed by themselves;
            that the worker ended; and those, of any kind, that were put back.
        ok_times, failed_times: seconds that tries ran. Tries that are neither are left out.
        memory: peak memory of tries, MiB.
        cpu: CPU time as a share of the run time.
        axis: the buckets of the tracks and of the rows.
        ended_ok, ended_badly, put_back: tracks: tries by the time of their end.
        rows: who was busy when.
        untimed: tries without a time that can be read: they are in no track and no row.
        failures, attempts, slowest: see there.
        hosts: by name; later ones of very many are together.
        notes: notices and problems, the first of them.
        more_notes: how many more there were.
        skipped: events from before *since*, that are counted nowhere else.

    Args:
        most_single: tries that are kept one by one, at most.
        since: leave out earlier events, in seconds since the epoch.
    """

    def __init__(self, *, most_single: int = MOST_SINGLE, since: float = 0.0) -> None:
        self.by_type: dict[str, int] = {}
        self.tries = self.ok = self.failed = self.aborted = self.again = self.untimed = 0
        self.ok_times, self.failed_times = Histogram(), Histogram()
        self.memory, self.cpu = Histogram(), Histogram()
        self.axis = TimeAxis()
        self.ended_ok = self.axis.sums("L")
        self.ended_badly = self.axis.sums("L")
        self.put_back = self.axis.sums("L")
        self.rows = Rows(self.axis)
        self.failures, self.attempts, self.slowest = Failures(), Tries(), Slowest()
        self.hosts: dict[str, HostTally] = {}
        self.notes: list[Note] = []
        self.more_notes = 0
        self.skipped = 0
        self._since = since
        self._timestamps = PlausibleTimestamps()
        self._most_single = most_single
        self._single: list[tuple[int, Try]] | None = []

    @property
    def single(self) -> list[tuple[int, Try]] | None:
        """All tries that have a time, with the number of their row; None: there are too many."""
        return None if self.rows.by_host else self._single

    def span(self) -> tuple[float, float] | None:
        """Return when the first try began and the last one ended, in seconds since the epoch.

        None: no try has a time.
        """
        if not len(self.rows):
            return None
        return min(row.first for row in self.rows), max(row.last for row in self.rows)

    def read(self, events: Iterable[Mapping[str, Any]]) -> Tally:
        """Count all *events*; returns itself."""
        for event in events:
            self.add(event)
        return self

    def add(self, event: Mapping[str, Any]) -> None:
        """Count *event*, of any type, with any values."""
        kind = event.get("event_type")
        if type(kind) is not str:
            return
        is_try = kind in TASK_EVENTS
        if not is_try and kind not in _NOTED and kind not in _COUNTED:
            return
        when = self._timestamps.parse(event.get("timestamp"))
        if when is not None and when < self._since:
            self.skipped += 1
            return
        self.by_type[kind] = self.by_type.get(kind, 0) + 1
        name = text(event.get("hostname"))
        host = self.hosts.get(name) or self._new_host(name)
        if is_try:
            self._add_try(event, read_try(event, kind, when, name, self._timestamps), host)
        elif kind in _NOTED:
            self._note(event, kind, when, name, host)

    def _new_host(self, name: str) -> HostTally:
        if len(self.hosts) >= MOST_ROWS:
            name = OTHER_HOSTS
        return self.hosts.setdefault(name, HostTally())

    def _add_try(self, event: Mapping[str, Any], one: Try, host: HostTally) -> None:
        self.tries += 1
        host.tries += 1
        if one.done:
            self.ok += 1
            host.ok += 1
        else:
            self.failed += one.failed
            host.failed += one.failed
            self.again += one.again
            self.aborted += one.kind == "task_aborted"
            self.failures.add(event, one)
        one.attempt = self.attempts.add(one.task_id, one.attempt, one.done)
        self._place(one)
        if one.seconds is not None:
            self._measure(one, one.seconds)

    def _place(self, one: Try) -> None:
        """Find its place in time."""
        start, end = one.start, one.end
        if start is None or end is None:
            self.untimed += 1
            return
        row = self.rows.add(one.host, one.slot, start, end, one.failed)
        bucket = self.axis.index(end)
        (self.ended_ok if one.done else self.ended_badly)[bucket] += 1
        if one.again:
            self.put_back[bucket] += 1
        if self._single is not None:
            self._single.append((row.number, one))
            if len(self._single) > self._most_single:
                self._single = None

    def _measure(self, one: Try, seconds: float) -> None:
        if one.failed:
            self.failed_times.add(seconds)
        elif one.kind == "task_completed":
            self.ok_times.add(seconds)
        self.slowest.add(one, seconds)
        if one.max_rss_mb:
            self.memory.add(one.max_rss_mb)
        if one.cpu_time is not None and seconds >= _SHORTEST_FOR_CPU:
            self.cpu.add(one.cpu_time / seconds)

    def _note(
        self, event: Mapping[str, Any], kind: str, when: float | None, name: str, host: HostTally
    ) -> None:
        host.notices += kind == "spot_termination"
        if len(self.notes) >= _MOST_NOTES:
            self.more_notes += 1
            return
        said, trace = (
            text(event.get(key), _LONGEST_TEXT) if event.get(key) else "" for key in _NOTED[kind]
        )
        self.notes.append(Note(when, name, kind, said, trace))
