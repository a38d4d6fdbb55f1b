"""What a run is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cloud_tasks.policy import RetryRules


def _unknown() -> None:
    """Know no name of this machine."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told; seconds and bytes.

    Attributes:
        slots: tasks at once.
        max_runtime: of a task.
        grace: for running tasks after a stop.
        memory_limit: of a task's process tree; None: no limit.
        max_result_bytes: of a result; 0: no limit.
        skip: leave out so many tasks.
        most: start no more than so many.
        rules: which ends are retried.
        keep_alive: seconds between two signs of life; 0: none.
        instance_id: returns the provider's name for this machine; may block.
        log_level: of a handler that children add to a root logger without one; None: none.
    """

    slots: int = 1
    max_runtime: float = 600.0
    grace: float = 30.0
    memory_limit: int | None = None
    max_result_bytes: int = 64 * 2**20
    skip: int = 0
    most: int | None = None
    rules: RetryRules = field(default_factory=RetryRules)
    keep_alive: float = 0.0
    instance_id: Callable[[], str | None] = _unknown
    log_level: int | None = None
