"""Counting: what ended how, how long it took, what failed and why. Memory stays flat."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloud_tasks.clock import Clock
from cloud_tasks.errors import ConfigurationError
from cloud_tasks.events.causes import cause_of
from cloud_tasks.histogram import Histogram
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    Exited,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.policy import Decision, FailureLimit, Settlement
from cloud_tasks.summary import Cause, RunSummary, StopReason
from cloud_tasks.task import Delivery

#: Further causes are counted together.
_MAX_CAUSES = 1000
_OTHER = "other causes"
#: Causes that a snapshot names.
_NAMED = 3
#: What is told of run times.
_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a run stands at one moment.

    Attributes:
        elapsed: seconds since its start.
        ended: tasks with an outcome.
        succeeded: tasks that are done.
        failed: tasks that ended otherwise.
        running: tasks that are with the executor.
        total: how many there are in all, where that is known or can be guessed.
        guessed: that number is a guess.
        put_back: of those that ended otherwise, tasks that went back for another try.
        skipped: tasks left out.
        bad_entries: entries of the source that were no tasks.
        cause_count: how many causes of failure there are.
        causes: the most frequent ones, most frequent first.
        run_time: seconds inside the function, as in :class:`RunSummary`; empty before the first.
    """

    elapsed: float
    ended: int
    succeeded: int
    failed: int
    running: int
    total: int | None
    guessed: bool = False
    put_back: int = 0
    skipped: int = 0
    bad_entries: int = 0
    cause_count: int = 0
    causes: tuple[Cause, ...] = ()
    run_time: Mapping[str, float] = field(default_factory=dict)


class Stats:
    """Written by the completer and the dispatcher, read by anybody."""

    def __init__(self, clock: Clock, total: int | None = None) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._lock = threading.Lock()
        self._counts: Counter[type] = Counter()
        self._causes: dict[str, list[str | int]] = {}
        self._run_times = Histogram()
        self._slot_time = 0.0
        self._ended = 0
        self._not_done = 0
        self._succeeded = 0
        self._retry_requested = 0
        self._given_up = 0
        self.total = total
        #: About how many tasks there are, where the number is not known.
        self.guessed_total: int | None = None
        self.submitted = 0
        self.returned = 0
        self.bad_entries = 0
        self.skipped = 0
        self.finished_before = 0
        self.failed_before = 0

    def begin(self) -> None:
        """Count time from now on."""
        self._began = self._clock.monotonic()

    def add(self, delivery: Delivery, outcome: Outcome, decision: Decision) -> None:
        """Count one outcome."""
        measures = outcome.measures
        with self._lock:
            self._counts[type(outcome)] += 1
            if decision.succeeded:
                self._succeeded += 1
            else:
                # What went back is done later, here or elsewhere.
                self._not_done += decision.settlement is not Settlement.RELEASE
                self._given_up += decision.settlement is Settlement.DEAD_LETTER
                self._count_cause(cause_of(outcome), delivery.task.task_id)
            if decision.retry and isinstance(outcome, Completed):
                self._retry_requested += 1
            self._slot_time += measures.elapsed_time
            self._ended += 1
            if measures.run_time is not None:
                self._run_times.add(measures.run_time)

    def _count_cause(self, cause: str, task_id: str) -> None:
        if cause not in self._causes:
            if len(self._causes) >= _MAX_CAUSES:
                cause = _OTHER
            self._causes.setdefault(cause, [0, task_id])
        entry = self._causes[cause]
        entry[0] = int(entry[0]) + 1

    def exceeds(self, limit: FailureLimit) -> bool:
        """Tell whether too many tasks have failed; what we aborted has not failed."""
        with self._lock:
            failed = self._not_done - self._counts[Aborted]
            return limit.is_reached(failed, self._ended, self._expected())

    def _expected(self) -> int | None:
        """How many there will be, where it is known or can be guessed."""
        if self.total is None and self.guessed_total is not None:
            return max(self.guessed_total, self.submitted)
        return self.total

    @property
    def running(self) -> int:
        """Tasks that are with the executor."""
        return max(0, self.submitted - self.returned)

    @property
    def mean_elapsed_time(self) -> float | None:
        """Seconds that a task has kept its slot, on average; None before the first outcome."""
        return self._slot_time / self._ended if self._ended else None

    @property
    def mean_run_time(self) -> float | None:
        """Seconds inside the function, on average; None before the first that was measured."""
        return self._run_times.mean

    def snapshot(self) -> Snapshot:
        """Return how the run stands now."""
        total = self._expected()
        with self._lock:
            ended = self._ended
            return Snapshot(
                self._clock.monotonic() - self._began,
                ended,
                self._succeeded,
                ended - self._succeeded,
                self.running,
                total,
                guessed=total is not None and self.total is None,
                put_back=ended - self._succeeded - self._not_done,
                skipped=self.skipped + self.finished_before + self.failed_before,
                bad_entries=self.bad_entries,
                cause_count=len(self._causes),
                causes=tuple(
                    Cause(text, int(count), str(example))
                    for text, (count, example) in heapq.nlargest(
                        _NAMED, self._causes.items(), key=lambda item: int(item[1][0])
                    )
                ),
                run_time=_percentiles(self._run_times),
            )

    @property
    def ended(self) -> int:
        """Tasks with an outcome; costs less than a snapshot."""
        return self._ended

    def summary(self, reason: StopReason, trouble: Exception | None = None) -> RunSummary:
        """Return what the run has come to; *trouble* of the worker's own has ended it."""
        elapsed = self._clock.monotonic() - self._began
        total = self._expected()
        with self._lock:
            counts: Mapping[type, int] = self._counts
            ranked = sorted(self._causes.items(), key=lambda item: -int(item[1][0]))
            return RunSummary(
                stop_reason=reason,
                completed=counts[Completed],
                exceptions=counts[Raised],
                timed_out=counts[TimedOut],
                exited=counts[Exited],
                over_memory=counts[OverMemory],
                aborted=counts[Aborted],
                retry_requested=self._retry_requested,
                not_done=self._not_done,
                given_up=self._given_up,
                bad_entries=self.bad_entries,
                skipped=self.skipped,
                finished_before=self.finished_before,
                failed_before=self.failed_before,
                elapsed=elapsed,
                rate=self._ended / elapsed if elapsed > 0 else 0.0,
                run_time=_percentiles(self._run_times),
                causes=tuple(Cause(t, int(n), str(example)) for t, (n, example) in ranked),
                trouble=None if trouble is None else str(trouble),
                misused=isinstance(trouble, ConfigurationError),
                not_started=None if total is None else max(0, total - self._ended),
                total_guessed=total is not None and self.total is None,
            )


def _percentiles(times: Histogram) -> dict[str, float]:
    """Return p50, p95, p99, max and mean in seconds; empty before the first."""
    if times.mean is None:
        return {}
    found = dict(zip(_SHARES, times.percentiles(list(_SHARES.values())), strict=True))
    return {**found, "max": times.most, "mean": times.mean}
