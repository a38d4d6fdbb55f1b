"""Tell apart the workers of a log: when each of them lived, and with how many slots.

A worker is one run of a program; :func:`cloud_tasks.events.reading.worker_of` reads its id from an
event. Several may share a host, at the same time or one after the other, as after ``--resume``.
``worker_started`` and ``worker_stopped`` tell the life of a worker. Where a log lacks them, as that
of an older version or of a worker that was killed, it lasts from its first event to its last one.
The older system's events have no ids: there all of a host counts as one worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloud_tasks.report.tally.attempts import short_text, whole

#: Workers that are told apart; further ones of a host count as one.
MAX_WORKERS = 4096
#: Slots of one worker that are told apart.
MAX_SLOTS = 4096


@dataclass(slots=True)
class WorkerTally:
    """The record of one worker in the log; times are seconds since the epoch, None: not told.

    Attributes:
        host: its name.
        worker: its id; None: of the older system.
        started, stopped: of its events of these names.
        reason, exit_code: how it ended.
        attempts: that it recorded.
        slots: the numbers of its slots that had an attempt.
        first, last: beginning and end of its work.
        earliest, latest: times of its first and last event.
    """

    host: str
    worker: str | None
    started: float | None = None
    stopped: float | None = None
    reason: str | None = None
    exit_code: int | None = None
    attempts: int = 0
    slots: set[int] = field(default_factory=set)
    first: float = float("inf")
    last: float = 0.0
    earliest: float = float("inf")
    latest: float = 0.0

    @property
    def life(self) -> tuple[float, float]:
        """The times of its start and its end, as far as the log has them."""
        begin = min(self.first, self.earliest) if self.started is None else self.started
        end = max(self.last, self.latest) if self.stopped is None else self.stopped
        return begin, max(begin, end)

    @property
    def seconds(self) -> float:
        """Seconds from the beginning of its first attempt to the end of its last one."""
        return max(0.0, self.last - self.first)


class Workers:
    """All workers of a log; their number is bounded."""

    def __init__(self, limit: int = MAX_WORKERS) -> None:
        self._limit = limit
        self._workers: dict[tuple[str, str | None], WorkerTally] = {}

    def __iter__(self) -> Iterator[WorkerTally]:
        return iter(self._workers.values())

    def of_host(self, host: str) -> list[WorkerTally]:
        """Return the workers of *host* that had an attempt with a time, the earliest first."""
        found = [one for one in self if one.host == host and one.slots]
        return sorted(found, key=lambda one: one.first)

    def add_event(
        self, event: Mapping[str, Any], kind: str, when: float | None, host: str, worker: str | None
    ) -> None:
        """Count *event*, of type *kind*, of *worker* on *host*."""
        if when is None:
            return
        one = self._of(host, worker)
        one.earliest, one.latest = min(one.earliest, when), max(one.latest, when)
        if kind == "worker_started":
            one.started = when if one.started is None else min(one.started, when)
        elif kind == "worker_stopped":
            one.stopped = when if one.stopped is None else max(one.stopped, when)
            reason = event.get("reason")
            one.reason = None if reason is None else short_text(reason)
            one.exit_code = whole(event.get("exit_code"), 0)

    def add_attempt(
        self, host: str, worker: str | None, slot: int, start: float, end: float
    ) -> None:
        """Count an attempt in *slot* from *start* to *end*."""
        one = self._of(host, worker)
        one.attempts += 1
        one.first, one.last = min(one.first, start), max(one.last, end)
        if len(one.slots) < MAX_SLOTS:
            one.slots.add(slot)

    def _of(self, host: str, worker: str | None) -> WorkerTally:
        found = self._workers.get((host, worker))
        if found is None:
            if len(self._workers) >= self._limit:
                worker = None
            found = self._workers.setdefault((host, worker), WorkerTally(host, worker))
        return found

    @property
    def announced(self) -> bool:
        """True if the log has the start of a worker."""
        return any(one.started is not None for one in self)

    def last_beginning(self) -> float | None:
        """Return when the last run began: when a worker began while no other one lived.

        None: all workers belong to one run.
        """
        found, over = None, float("inf")
        for begin, end in sorted(one.life for one in self):
            if begin > over:
                found = begin
            over = end if over == float("inf") else max(over, end)
        return found


def most_at_once(workers: list[WorkerTally]) -> int:
    """Return the largest number of slots that *workers* had at the same time."""
    changes = [(one.first, len(one.slots)) for one in workers]
    changes += [(one.last, -len(one.slots)) for one in workers]
    most = now = 0
    for _, change in sorted(changes):  # an end before a beginning at the same time
        now += change
        most = max(most, now)
    return most


def covered(workers: list[WorkerTally]) -> float:
    """Return the seconds in which at least one of *workers*, the earliest first, had work."""
    total, over = 0.0, 0.0
    for one in workers:
        total += max(0.0, one.last - max(one.first, over))
        over = max(over, one.last)
    return total
