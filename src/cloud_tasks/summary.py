"""Summarise a run: counts, failure causes, the stop reason and the exit code."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


class StopReason(enum.Enum):
    """The reason why a run ended."""

    DONE = "done"
    MAX_NUM_TASKS = "max_num_tasks"
    SIGINT = "sigint"
    SIGTERM = "sigterm"
    SPOT = "spot_termination"
    REQUESTED = "requested"
    TOO_MANY_FAILURES = "too_many_failures"
    FAILED = "failed"


INTERRUPTED = 130
#: Exit codes that depend on the stop reason alone, whatever the tasks did.
_OF_REASON = {
    StopReason.SIGINT: INTERRUPTED,
    StopReason.SIGTERM: 143,
    StopReason.SPOT: 75,
    StopReason.TOO_MANY_FAILURES: 3,
}
USAGE = 2
TROUBLE = 4
TASKS_NOT_DONE = 1


@dataclass(frozen=True, slots=True)
class Cause:
    """A group of failures with the same cause.

    Attributes:
        text: the cause, in one line.
        count: number of failures.
        example: task id of the first of them.
    """

    text: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The counts of a run and how it ended.

    Attributes:
        stop_reason: why it ended.
        completed: tasks whose function returned.
        exceptions, timed_out, exited, over_memory: tasks with that outcome.
        aborted: tasks that the worker ended; they are not done.
        retry_requested: tasks that completed and asked to be run again.
        not_done: tasks that are not done, whatever the reason, except those that never started
            and those that went back to a queue.
        bad_entries: entries of the source that are not tasks.
        skipped: tasks left out by ``--tasks-to-skip``.
        finished_before: tasks left out by ``--resume`` because an earlier run had finished them.
        failed_before: tasks left out by ``--resume`` because they had failed there. The job as a
            whole is not done then, and the exit code says so.
        elapsed: seconds from start to end.
        rate: ended tasks per second.
        run_time: seconds inside the function: ``p50``, ``p95``, ``p99``, ``max``, ``mean``.
        causes: failures by cause, most frequent first.
        trouble: message of the worker's own error, if one ended the run.
        misused: that error is a setting or keyword that can't work, so nothing has run.
        given_up: of the tasks that are not done, those moved to the dead-letter queue.
        not_started: tasks that never started; None where their number is unknown.
        total_guessed: ``not_started`` is an estimate, as for a file that was not read to its end.
    """

    stop_reason: StopReason = StopReason.DONE
    completed: int = 0
    exceptions: int = 0
    timed_out: int = 0
    exited: int = 0
    over_memory: int = 0
    aborted: int = 0
    retry_requested: int = 0
    not_done: int = 0
    bad_entries: int = 0
    skipped: int = 0
    finished_before: int = 0
    failed_before: int = 0
    elapsed: float = 0.0
    rate: float = 0.0
    run_time: Mapping[str, float] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()
    trouble: str | None = None
    misused: bool = False
    given_up: int = 0
    not_started: int | None = None
    total_guessed: bool = False

    @property
    def ended(self) -> int:
        """Return the number of tasks with an outcome."""
        own = self.completed + self.exceptions + self.timed_out + self.exited + self.over_memory
        return own + self.aborted

    @property
    def failed(self) -> int:
        """Return the number of tasks that failed, that is, neither completed nor were aborted."""
        return self.exceptions + self.timed_out + self.exited + self.over_memory

    @property
    def exit_code(self) -> int:
        """Return the exit code of ``main()`` and of the command line.

        Where several apply, 130 and 143 come before 75, 3, 4, 2, 1 and 0.
        """
        if self.stop_reason in _OF_REASON:
            return _OF_REASON[self.stop_reason]
        if self.trouble is not None:
            return USAGE if self.misused else TROUBLE
        return TASKS_NOT_DONE if self.not_done or self.failed_before else 0

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            **asdict(self),
            "stop_reason": self.stop_reason.value,
            "run_time": dict(self.run_time),
            "causes": [asdict(cause) for cause in self.causes],
            "ended": self.ended,
            "failed": self.failed,
            "exit_code": self.exit_code,
        }
