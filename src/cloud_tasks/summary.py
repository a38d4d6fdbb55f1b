"""What a run came to."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


class StopReason(enum.Enum):
    """Why a run ended."""

    DONE = "done"
    MAX_NUM_TASKS = "max_num_tasks"
    SIGINT = "sigint"
    SIGTERM = "sigterm"
    SPOT = "spot_termination"
    REQUESTED = "requested"
    TOO_MANY_FAILURES = "too_many_failures"
    FAILED = "failed"


#: Exit codes that a reason has of its own, whatever the tasks did.
_OF_REASON = {
    StopReason.SIGINT: 130,
    StopReason.SIGTERM: 143,
    StopReason.SPOT: 75,
    StopReason.TOO_MANY_FAILURES: 3,
}
USAGE = 2
TROUBLE = 4
TASKS_NOT_DONE = 1


@dataclass(frozen=True, slots=True)
class Cause:
    """Failures that look alike.

    Attributes:
        text: what they have in common.
        count: how many.
        example: the id of the first.
    """

    text: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run came to.

    Attributes:
        stop_reason: why it ended.
        completed: tasks whose function returned.
        exceptions, timed_out, exited, over_memory: tasks that ended so.
        aborted: tasks that we ended; they are not done.
        retry_requested: tasks that completed and asked for another try.
        not_done: tasks that are not done, whatever the reason; those never begun, and those that
            went back to a queue, are not counted.
        bad_entries: entries of the source that were no tasks.
        skipped: tasks left out by ``--tasks-to-skip``.
        finished_before: tasks left out by ``--resume``, because an earlier run had finished them.
        failed_before: tasks left out by it because they had failed there. The job as a whole is
            not done then, and the exit code says so.
        elapsed: seconds from start to end.
        rate: tasks that ended, a second.
        run_time: seconds inside the function: ``p50``, ``p95``, ``p99``, ``max``, ``mean``.
        causes: failures by cause, most frequent first.
        trouble: the worker's own trouble, if that ended the run.
        misused: that trouble is a setting or keyword that can't work, so nothing has run.
        given_up: of the tasks that are not done, those moved to the dead-letter queue.
        not_started: tasks that never began; None where nobody knows how many there are.
        total_guessed: that number is about right, as of a file that was not read to its end.
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
        """Tasks that have an outcome."""
        own = self.completed + self.exceptions + self.timed_out + self.exited + self.over_memory
        return own + self.aborted

    @property
    def failed(self) -> int:
        """Tasks that ended otherwise than by returning, for a reason of their own."""
        return self.exceptions + self.timed_out + self.exited + self.over_memory

    @property
    def exit_code(self) -> int:
        """What ``main()`` and the command line exit with.

        Where several hold, 130 and 143 come before 75, 3, 4, 2, 1 and 0.
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
