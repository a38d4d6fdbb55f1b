"""What is done about an outcome: one pure function, the only place that decides."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

from cloud_tasks.errors import unreachable
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    Exited,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.task import Delivery

#: Seconds between two tries of a task, at most.
_LONGEST_DELAY = 300.0
#: Of a task whose tries nobody counts.
_UNCOUNTED_DELAY = 30.0


class Settlement(enum.Enum):
    """What the source is told about a delivery."""

    ACK = "ack"
    RELEASE = "release"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class RetryRules:
    """Which ends of a task ask for another try.

    Attributes:
        on_exit: its process ended.
        on_exception: it raised.
        on_timeout: it ran too long.
        requeues: the source can take a task back; task files and callables can't.
        max_attempts: a task that wants another try at this delivery or a later one is given up;
            0: never.
    """

    on_exit: bool = False
    on_exception: bool = False
    on_timeout: bool = False
    requeues: bool = False
    max_attempts: int = 0


#: A percentage of tasks that ended, where nobody knows how many there will be, says little before
#: so many of them have.
_ENOUGH = 100


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """How many tasks may fail; one of the two is set.

    Attributes:
        count: the run ends when so many tasks have failed.
        percent: the run ends when more than this share of all tasks have failed. Where nobody
            knows how many there will be, of those that have ended, as if these were 100 at
            least.
    """

    count: int | None = None
    percent: float | None = None

    def is_reached(self, failed: int, ended: int, total: int | None) -> bool:
        """Tell whether *failed* of *ended* tasks are too many; *total*: there will be so many."""
        if self.count is not None:
            return failed >= self.count
        assert self.percent is not None
        of = max(ended, _ENOUGH) if total is None else max(ended, total)
        return failed * 100 > self.percent * of

    def __str__(self) -> str:
        return str(self.count) if self.percent is None else f"{self.percent:g}%"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done about one outcome.

    Attributes:
        retry: it is put back for another try. A source that takes nothing back grants none; the
            event tells all the same what the task asked for.
        settlement: what the source is told.
        succeeded: the task is done and needs nothing more.
        delay: seconds that a released delivery shall not be seen.
    """

    retry: bool
    settlement: Settlement
    succeeded: bool
    delay: float = 0.0


def decide(outcome: Outcome, delivery: Delivery, rules: RetryRules) -> Decision:
    """Decide what becomes of *delivery*, whose task ended in *outcome*."""
    retry = _wants_retry(outcome, rules)
    if not (retry and rules.requeues):
        return _settled(retry, isinstance(outcome, Completed))
    if isinstance(outcome, Aborted):
        # The end was ours, not the task's.
        return Decision(retry=True, settlement=Settlement.RELEASE, succeeded=False)
    attempt = delivery.attempt
    if attempt is not None and 0 < rules.max_attempts <= attempt:
        return Decision(retry=False, settlement=Settlement.DEAD_LETTER, succeeded=False)
    return Decision(
        retry=True, settlement=Settlement.RELEASE, succeeded=False, delay=retry_delay(attempt)
    )


@functools.cache
def _settled(retry: bool, completed: bool) -> Decision:
    # There are few, and making one anew for every task would cost more than deciding.
    return Decision(retry=retry, settlement=Settlement.ACK, succeeded=completed and not retry)


def retry_delay(attempt: int | None) -> float:
    """Return for how many seconds a task is hidden after its *attempt*-th delivery failed.

    The first retry comes at once, the next ones after 2, 4, 8 seconds and so on, at most 5 min.
    Where nobody counts (None) each waits for half a minute, as it may be any of them.
    """
    if attempt is None:
        return _UNCOUNTED_DELAY
    return 0.0 if attempt <= 1 else min(_LONGEST_DELAY, 2.0 ** min(attempt - 1, 16))


def _wants_retry(outcome: Outcome, rules: RetryRules) -> bool:
    match outcome:
        case Completed():
            return outcome.retry
        case Raised():
            # Memory that ran out will run out again.
            return rules.on_exception and outcome.exc_type != "MemoryError"
        case TimedOut():
            return rules.on_timeout
        case Exited():
            return rules.on_exit
        case OverMemory():
            return False
        case Aborted():
            return True
        case _:
            unreachable(outcome)
