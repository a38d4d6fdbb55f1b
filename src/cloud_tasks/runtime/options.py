"""What a run is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloud_tasks.policy import RetryRules


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
    log_level: int | None = None
