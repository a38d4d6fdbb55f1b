"""Count the events of a log for a report, in one pass and in memory that does not grow.

    event ──► Attempt ──┬──► totals, hosts, histograms     one number each
                        ├──► TimeAxis, Rows                1,024 buckets, at most 512 rows
                        ├──► FailureGroups, AttemptCounts  at most 1,000 causes, 20,000 open tasks
                        └──► Slowest, single               100; each one while there are few

Attempts are counted: a task that was put back, given to a second worker or run again by
``--resume`` has several, and one that was completed twice counts as done twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cloud_tasks.events.reading import TASK_EVENTS, worker_of
from cloud_tasks.histogram import Histogram
from cloud_tasks.masking import masked
from cloud_tasks.report.tally.attempts import (
    Attempt,
    AttemptCounts,
    Slowest,
    read_attempt,
    short_text,
)
from cloud_tasks.report.tally.failures import FailureGroups
from cloud_tasks.report.tally.rows import MAX_ROWS, OTHER_HOSTS, Rows
from cloud_tasks.report.tally.time_axis import TimeAxis
from cloud_tasks.report.tally.workers import Workers
from cloud_tasks.timestamps import plausible_timestamp

#: Attempts that are kept one by one; of more there are only counts.
MAX_SINGLE = 20_000
#: Notes that are kept.
_MAX_NOTES = 200
#: Characters of a note that are kept.
_LONGEST_TEXT = 2000
#: Seconds; the share of CPU time in shorter attempts is not significant.
_SHORTEST_FOR_CPU = 0.01
#: Events of the worker itself, with the fields that become text and trace of a note.
_WORKER_EVENTS = {
    "spot_termination": ("kind", ""),
    "non_fatal_exception": ("exception", "stack_trace"),
    "fatal_exception": ("exception", "stack_trace"),
}
_COUNTED = frozenset({"task_dead", "keep_alive", "worker_started", "worker_stopped"})


@dataclass(frozen=True, slots=True)
class Note:
    """A notice or problem of a worker.

    Attributes:
        when: seconds since the epoch; None: the log doesn't tell.
        host: of the worker.
        kind: the event's type.
        text, trace: of the event.
    """

    when: float | None
    host: str
    kind: str
    text: str
    trace: str


@dataclass(slots=True)
class HostTally:
    """The counts of one host.

    Attributes:
        attempts, ok, failed: all attempts, those that completed their task, and those that failed.
        notices: of a termination of the host.
    """

    attempts: int = 0
    ok: int = 0
    failed: int = 0
    notices: int = 0


class Tally:
    """The counts of a log.

    Attributes:
        by_type: events of each known type.
        total: attempts that ended.
        ok, failed, aborted, put_back: of them, those that completed their task; that failed by
            themselves; that the worker aborted; and those, of any kind, whose task was put back.
        ok_times, failed_times: run times in seconds. Attempts that are neither are left out.
        memory: peak memory of attempts, MiB.
        cpu: CPU time as a share of the run time.
        axis: the buckets of the tracks and of the rows.
        ok_track, not_done_track, put_back_track: attempts by the time of their end.
        rows: the busy times of slots or hosts.
        workers: the life of each.
        untimed: attempts without a valid time: they are in no track and no row.
        failures, attempts, slowest: see there.
        hosts: by name; of very many, the later ones are counted together.
        notes: the first notices and problems.
        more_notes: the number of further ones.
        skipped: events from before *since*, in seconds since the epoch; they count nowhere else.

    At most *max_single* attempts are kept one by one.
    """

    def __init__(self, *, max_single: int = MAX_SINGLE, since: float = 0.0) -> None:
        self.by_type: dict[str, int] = {}
        self.total = self.ok = self.failed = self.aborted = self.put_back = self.untimed = 0
        self.ok_times, self.failed_times = Histogram(), Histogram()
        self.memory, self.cpu = Histogram(), Histogram()
        self.axis = TimeAxis()
        self.ok_track = self.axis.sums("L")
        self.not_done_track = self.axis.sums("L")
        self.put_back_track = self.axis.sums("L")
        self.rows, self.workers = Rows(self.axis), Workers()
        self.failures, self.attempts, self.slowest = FailureGroups(), AttemptCounts(), Slowest()
        self.hosts: dict[str, HostTally] = {}
        self.notes: list[Note] = []
        self.more_notes = 0
        self.skipped = 0
        self._since = since
        self._max_single = max_single
        self._single: list[tuple[int, Attempt]] | None = []

    @property
    def single(self) -> list[tuple[int, Attempt]] | None:
        """All attempts that have a time, with the number of their row; None: there are too many."""
        return None if self.rows.by_host else self._single

    def span(self) -> tuple[float, float] | None:
        """Return when the first attempt began and the last one ended, in seconds since the epoch.

        None: no attempt has a time.
        """
        if not len(self.rows):
            return None
        return min(row.first for row in self.rows), max(row.last for row in self.rows)

    def read(self, events: Iterable[Mapping[str, Any]]) -> Tally:
        """Count all *events*; return the tally itself."""
        for event in events:
            self.add(event)
        return self

    def add(self, event: Mapping[str, Any]) -> None:
        """Count *event*, of any type, with any values."""
        kind = event.get("event_type")
        if type(kind) is not str:
            return
        is_attempt = kind in TASK_EVENTS
        if not is_attempt and kind not in _WORKER_EVENTS and kind not in _COUNTED:
            return
        when = plausible_timestamp(event.get("timestamp"))
        if when is not None and when < self._since:
            self.skipped += 1
            return
        self.by_type[kind] = self.by_type.get(kind, 0) + 1
        name = short_text(event.get("hostname"))
        host = self.hosts.get(name) or self._new_host(name)
        worker = worker_of(event)
        self.workers.add_event(event, kind, when, self._counted_as(name), worker)
        if is_attempt:
            self._add_attempt(event, read_attempt(event, kind, when, name, worker), host)
        elif kind in _WORKER_EVENTS:
            self._add_note(event, kind, when, name, host)

    def _new_host(self, name: str) -> HostTally:
        if len(self.hosts) >= MAX_ROWS:
            name = OTHER_HOSTS
        return self.hosts.setdefault(name, HostTally())

    def _counted_as(self, host: str) -> str:
        return host if host in self.hosts else OTHER_HOSTS

    def _add_attempt(self, event: Mapping[str, Any], one: Attempt, host: HostTally) -> None:
        self.total += 1
        host.attempts += 1
        if one.done:
            self.ok += 1
            host.ok += 1
        else:
            self.failed += one.failed
            host.failed += one.failed
            self.put_back += one.put_back
            self.aborted += one.kind == "task_aborted"
            self.failures.add(event, one)
        one.number = self.attempts.add(one.task_id, one.number, one.done)
        self._place(one)
        if one.seconds is not None:
            self._measure(one, one.seconds)

    def _place(self, one: Attempt) -> None:
        """Add it to the tracks and rows, at its time."""
        start, end = one.start, one.end
        if start is None or end is None:
            self.untimed += 1
            return
        row, slot = self.rows.add(one.host, one.worker, one.slot, start, end, one.failed)
        self.workers.add_attempt(self._counted_as(one.host), one.worker, slot, start, end)
        bucket = self.axis.index(end)
        (self.ok_track if one.done else self.not_done_track)[bucket] += 1
        if one.put_back:
            self.put_back_track[bucket] += 1
        if self._single is not None:
            self._single.append((row.number, one))
            if len(self._single) > self._max_single:
                self._single = None

    def _measure(self, one: Attempt, seconds: float) -> None:
        if one.failed:
            self.failed_times.add(seconds)
        elif one.kind == "task_completed":
            self.ok_times.add(seconds)
        self.slowest.add(one, seconds)
        if one.max_rss_mb:
            self.memory.add(one.max_rss_mb)
        if one.cpu_time is not None and seconds >= _SHORTEST_FOR_CPU:
            self.cpu.add(one.cpu_time / seconds)

    def _add_note(
        self, event: Mapping[str, Any], kind: str, when: float | None, name: str, host: HostTally
    ) -> None:
        host.notices += kind == "spot_termination"
        if len(self.notes) >= _MAX_NOTES:
            self.more_notes += 1
            return
        text, trace = (
            masked(short_text(event.get(key), _LONGEST_TEXT)) if event.get(key) else ""
            for key in _WORKER_EVENTS[kind]
        )
        self.notes.append(Note(when, name, kind, text, trace))
