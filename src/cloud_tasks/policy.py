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


class Settlement(enum.Enum):
    """What the source is told about a delivery."""

    ACK = "ack"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class RetryRules:
    """Which ends of a task ask for another try.

    Attributes:
        on_exit: its process ended.
        on_exception: it raised.
        on_timeout: it ran too long.
        requeues: the source can take a task back; task files and callables can't.
    """

    on_exit: bool = False
    on_exception: bool = False
    on_timeout: bool = False
    requeues: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done about one outcome.

    Attributes:
        retry: another try was asked for; the event tells it, also where nobody can grant it.
        settlement: what the source is told.
        succeeded: the task is done and needs nothing more.
    """

    retry: bool
    settlement: Settlement
    succeeded: bool


def decide(outcome: Outcome, delivery: Delivery, rules: RetryRules) -> Decision:
    """Decide what becomes of *delivery*, whose task ended in *outcome*."""
    retry = _wants_retry(outcome, rules)
    return _decision(retry, rules.requeues, isinstance(outcome, Completed))


@functools.cache
def _decision(retry: bool, requeues: bool, completed: bool) -> Decision:
    # There are few, and making one anew for every task would cost more than deciding.
    return Decision(
        retry=retry,
        settlement=Settlement.RELEASE if retry and requeues else Settlement.ACK,
        succeeded=completed and not retry,
    )


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
