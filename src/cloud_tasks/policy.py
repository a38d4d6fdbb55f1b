"""Decide what follows from an outcome: one pure function, the only place that decides."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

from cloud_tasks.errors import unreachable
from cloud_tasks.outcome import Aborted, Completed, Exited, Outcome, OverMemory, Raised, TimedOut
from cloud_tasks.task import Delivery

#: Seconds before a task is tried again, at most.
_LONGEST_DELAY = 300.0
#: Seconds before it is tried again where the source does not count attempts.
_UNCOUNTED_DELAY = 30.0


class Settlement(enum.Enum):
    """The request to the source that settles a delivery."""

    ACK = "ack"
    RELEASE = "release"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class RetryRules:
    """Rules for which outcomes ask for another attempt.

    Attributes:
        on_exit: retry when its process ended.
        on_exception: retry when it raised.
        on_timeout: retry when it ran too long.
        requeues: the source can take a task back; task files and callables can't.
        max_attempts: a task that needs a retry after this many attempts is given up; 0 means
            never.
    """

    on_exit: bool = False
    on_exception: bool = False
    on_timeout: bool = False
    requeues: bool = False
    max_attempts: int = 0


#: Where the number of tasks is unknown, a percentage is taken of this many ended tasks at least:
#: of fewer it would mean little.
_MIN_ENDED = 100


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """A limit on failed tasks; exactly one of the two is set.

    Attributes:
        count: the run ends when this many tasks have failed.
        percent: the run ends when more than this share of all tasks has failed. Where their
            number is unknown: of the tasks that have ended, counted as 100 at least.
    """

    count: int | None = None
    percent: float | None = None

    def is_reached(self, failed: int, ended: int, total: int | None) -> bool:
        """Return True if *failed* of *ended* tasks are too many; *total* is None if unknown."""
        if self.count is not None:
            return failed >= self.count
        assert self.percent is not None
        of = max(ended, _MIN_ENDED) if total is None else max(ended, total)
        return failed * 100 > self.percent * of

    def __str__(self) -> str:
        return str(self.count) if self.percent is None else f"{self.percent:g}%"


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one outcome.

    Attributes:
        retry: the task should be run again. A source that takes nothing back can't do so; the
            event shows it all the same.
        settlement: the request to the source.
        succeeded: the task is done and needs nothing more.
        delay: seconds that a released delivery stays hidden in the queue.
    """

    retry: bool
    settlement: Settlement
    succeeded: bool
    delay: float = 0.0


def decide(outcome: Outcome, delivery: Delivery, rules: RetryRules) -> Decision:
    """Decide how *delivery*, whose task ended in *outcome*, is settled."""
    retry = _wants_retry(outcome, rules)
    if not (retry and rules.requeues):
        return _settled(retry, isinstance(outcome, Completed))
    if isinstance(outcome, Aborted):
        # The worker ended it, so this attempt does not count against the task.
        return Decision(retry=True, settlement=Settlement.RELEASE, succeeded=False)
    attempt = delivery.attempt
    if attempt is not None and 0 < rules.max_attempts <= attempt:
        return Decision(retry=False, settlement=Settlement.DEAD_LETTER, succeeded=False)
    return Decision(
        retry=True, settlement=Settlement.RELEASE, succeeded=False, delay=retry_delay(attempt)
    )


@functools.cache
def _settled(retry: bool, completed: bool) -> Decision:
    # There are four of them, and creating one for every task would cost more than deciding.
    return Decision(retry=retry, settlement=Settlement.ACK, succeeded=completed and not retry)


def retry_delay(attempt: int | None) -> float:
    """Return the seconds that a task is hidden after its *attempt*-th delivery failed.

    The first retry comes at once, the next ones after 2, 4, 8 seconds and so on, at most 5 min.
    Where the source does not count attempts (None), each retry waits for half a minute.
    """
    if attempt is None:
        return _UNCOUNTED_DELAY
    return 0.0 if attempt <= 1 else min(_LONGEST_DELAY, 2.0 ** min(attempt - 1, 16))


def _wants_retry(outcome: Outcome, rules: RetryRules) -> bool:
    match outcome:
        case Completed():
            return outcome.retry
        case Raised():
            # A task that ran out of memory would do so again.
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
