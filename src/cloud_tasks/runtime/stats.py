"""Counting: what ended how, how long it took, what failed and why. Memory stays flat."""

from __future__ import annotations

import math
import re
import signal
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from cloud_tasks.clock import Clock
from cloud_tasks.errors import ConfigurationError, unreachable
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    Exited,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.policy import Decision, Settlement
from cloud_tasks.runtime.summary import Cause, RunSummary, StopReason
from cloud_tasks.task import Delivery

#: Further causes are counted together.
_MAX_CAUSES = 1000
_OTHER = "other causes"
#: Buckets of a histogram in a factor of e: a percentile is off by 2.5 % at most.
_FINENESS = 20


class Histogram:
    """Durations in logarithmic buckets."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._count = 0
        self._sum = 0.0
        self._max = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._buckets[round(_FINENESS * math.log(max(seconds, 1e-9)))] += 1
        self._count += 1
        self._sum += seconds
        self._max = max(self._max, seconds)

    @property
    def mean(self) -> float | None:
        """The mean in seconds; None before the first."""
        return self._sum / self._count if self._count else None

    def percentiles(self) -> dict[str, float]:
        """Return p50, p95, p99, max and mean in seconds; empty before the first."""
        if not self._count:
            return {}
        wanted = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
        found: dict[str, float] = {}
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            for name, share in wanted.items():
                if name not in found and seen >= share * self._count:
                    found[name] = min(math.exp(bucket / _FINENESS), self._max)
        return {**found, "max": self._max, "mean": self._sum / self._count}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a run stands at one moment.

    Attributes:
        elapsed: seconds since its start.
        ended: tasks with an outcome.
        succeeded: tasks that are done.
        failed: tasks that ended otherwise.
        running: tasks that are with the executor.
        total: how many there are in all, where that is known.
    """

    elapsed: float
    ended: int
    succeeded: int
    failed: int
    running: int
    total: int | None


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
        self.submitted = 0
        self.returned = 0
        self.bad_entries = 0
        self.skipped = 0

    def begin(self) -> None:
        """Count time from now on."""
        self._began = self._clock.monotonic()

    def add(self, delivery: Delivery, outcome: Outcome, decision: Decision) -> None:
        """Count one outcome."""
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
            self._slot_time += outcome.measures.elapsed_time
            self._ended += 1
            if outcome.measures.run_time is not None:
                self._run_times.add(outcome.measures.run_time)

    def _count_cause(self, cause: str, task_id: str) -> None:
        if cause not in self._causes:
            if len(self._causes) >= _MAX_CAUSES:
                cause = _OTHER
            self._causes.setdefault(cause, [0, task_id])
        entry = self._causes[cause]
        entry[0] = int(entry[0]) + 1

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
        with self._lock:
            ended = self._ended
            return Snapshot(
                self._clock.monotonic() - self._began,
                ended,
                self._succeeded,
                ended - self._succeeded,
                max(0, self.submitted - self.returned),
                self.total,
            )

    def summary(self, reason: StopReason, trouble: Exception | None = None) -> RunSummary:
        """Return what the run has come to; *trouble* of the worker's own has ended it."""
        elapsed = self._clock.monotonic() - self._began
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
                elapsed=elapsed,
                rate=self._ended / elapsed if elapsed > 0 else 0.0,
                run_time=self._run_times.percentiles(),
                causes=tuple(Cause(t, int(n), str(example)) for t, (n, example) in ranked),
                trouble=None if trouble is None else str(trouble),
                misused=isinstance(trouble, ConfigurationError),
            )


def cause_of(outcome: Outcome) -> str:
    """Say why a task is not done, alike for failures that are alike."""
    match outcome:
        case Completed():
            return "asked for another try"
        case Raised():
            first = outcome.message.strip().partition("\n")[0]
            return re.sub(r"\d+", "#", f"{outcome.exc_type}: {first}")[:120]
        case TimedOut():
            return f"ran longer than {outcome.max_runtime:g} s"
        case Exited():
            return exit_text(outcome)
        case OverMemory():
            return f"used more than {outcome.limit / 2**30:.3g} GB of memory"
        case Aborted():
            return f"aborted: {outcome.reason}"
        case _:
            unreachable(outcome)


def exit_text(outcome: Exited) -> str:
    """Say how a process ended: ``exit code 3``, ``killed by signal 9 (SIGKILL)``."""
    hint = f", {outcome.hint}" if outcome.hint else ""
    code = outcome.exit_code
    if code is None:
        return f"its process is lost{hint}"
    if code >= 0:
        return f"exit code {code}{hint}"
    try:
        name = f" ({signal.Signals(-code).name})"
    except ValueError:
        name = ""
    return f"killed by signal {-code}{name}{hint}"
