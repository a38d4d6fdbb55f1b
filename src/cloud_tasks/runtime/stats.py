"""Count outcomes, run times and failure causes of a run, in bounded memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cloud_tasks.clock import Clock
from cloud_tasks.errors import ConfigurationError
from cloud_tasks.events.causes import cause_of
from cloud_tasks.histogram import Histogram
from cloud_tasks.outcome import Aborted, Completed, Exited, Outcome, OverMemory, Raised, TimedOut
from cloud_tasks.policy import Decision, FailureLimit, Settlement
from cloud_tasks.summary import Cause, RunSummary, StopReason
from cloud_tasks.task import Delivery

#: Number of causes that are counted apart; further ones are counted together.
_MAX_CAUSES = 1000
_OTHER = "other causes"
#: Number of causes that a snapshot names.
_NAMED = 3
#: Percentiles of the run times that are reported.
_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The progress of a run at one moment.

    Attributes:
        elapsed: seconds since its start.
        ended: tasks with an outcome.
        succeeded: tasks that are done.
        failed: tasks that ended otherwise.
        running: tasks that the executor has.
        total: number of all tasks; None where it can't even be estimated.
        guessed: ``total`` is an estimate.
        put_back: of the failed ones, tasks that went back to the source for another attempt.
        skipped: tasks left out.
        bad_entries: entries of the source that are not tasks.
        cause_count: number of causes of failure.
        causes: the most frequent of them, most frequent first.
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
    """The counts of a run: written by completer and dispatcher, read from any thread.

    Attributes:
        total: number of tasks to run; None where it is unknown.
        guessed_total: an estimate of it, where it is unknown.
        submitted: tasks given to the executor.
        returned: tasks that came back from it.
        bad_entries, skipped, finished_before, failed_before: as in :class:`RunSummary`.
    """

    def __init__(self, clock: Clock, total: int | None = None) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._lock = threading.Lock()
        self._counts: Counter[type] = Counter()
        self._causes: Counter[str] = Counter()
        #: By cause, the id of the first task with it.
        self._examples: dict[str, str] = {}
        self._run_times = Histogram()
        self._slot_time = 0.0
        self._ended = 0
        self._not_done = 0
        self._succeeded = 0
        self._retry_requested = 0
        self._given_up = 0
        self.total = total
        self.guessed_total: int | None = None
        self.submitted = 0
        self.returned = 0
        self.bad_entries = 0
        self.skipped = 0
        self.finished_before = 0
        self.failed_before = 0

    def begin(self) -> None:
        """Start the clock of the run."""
        self._began = self._clock.monotonic()

    def add(self, delivery: Delivery, outcome: Outcome, decision: Decision) -> None:
        """Count one outcome."""
        measures = outcome.measures
        with self._lock:
            self._counts[type(outcome)] += 1
            if decision.succeeded:
                self._succeeded += 1
            else:
                # A task that went back will be done later, here or elsewhere.
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
        if cause not in self._causes and len(self._causes) >= _MAX_CAUSES:
            cause = _OTHER
        self._causes[cause] += 1
        self._examples.setdefault(cause, task_id)

    def _most_frequent(self, n: int | None = None) -> tuple[Cause, ...]:
        ranked = self._causes.most_common(n)
        return tuple(Cause(text, count, self._examples[text]) for text, count in ranked)

    def exceeds(self, limit: FailureLimit) -> bool:
        """Return True if too many tasks have failed; aborted tasks have not failed."""
        with self._lock:
            failed = self._not_done - self._counts[Aborted]
            return limit.is_reached(failed, self._ended, self._expected())

    def _expected(self) -> int | None:
        if self.total is None and self.guessed_total is not None:
            return max(self.guessed_total, self.submitted)
        return self.total

    @property
    def running(self) -> int:
        """Return the number of tasks that the executor has."""
        return max(0, self.submitted - self.returned)

    @property
    def mean_elapsed_time(self) -> float | None:
        """Return the mean seconds that a task kept its slot; None before the first outcome."""
        return self._slot_time / self._ended if self._ended else None

    @property
    def mean_run_time(self) -> float | None:
        """Return the mean seconds inside the function; None before the first measurement."""
        return self._run_times.mean

    def snapshot(self) -> Snapshot:
        """Return the progress of the run now."""
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
                causes=self._most_frequent(_NAMED),
                run_time=_percentiles(self._run_times),
            )

    @property
    def ended(self) -> int:
        """Return the number of tasks with an outcome; cheaper than a snapshot."""
        return self._ended

    def summary(self, reason: StopReason, trouble: Exception | None = None) -> RunSummary:
        """Return the summary of the run; *trouble* is the failure that ended it, if any."""
        elapsed = self._clock.monotonic() - self._began
        total = self._expected()
        with self._lock:
            counts: Mapping[type, int] = self._counts
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
                causes=self._most_frequent(),
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
