"""What a run is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.policy import FailureLimit, RetryRules
from cloud_tasks.selection.base import SelectAll, Selection


def _unknown() -> None:
    """Know no name of this machine."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told; seconds and bytes.

    Attributes:
        executor: the options of the executor, but for its callbacks: these are the run's.
        max_runtime: of a task.
        grace: for running tasks after a stop.
        skip: leave out so many tasks.
        most: start no more than so many.
        selection: chooses which others are run.
        rules: which ends are retried.
        failure_limit: end the run when more tasks failed; None: never.
        keep_alive: seconds between two signs of life; 0: none.
        instance_id: returns the provider's name for this machine; may block.
    """

    executor: ExecutorOptions = field(default_factory=ExecutorOptions)
    max_runtime: float = 600.0
    grace: float = 30.0
    skip: int = 0
    most: int | None = None
    selection: Selection = field(default_factory=SelectAll)
    rules: RetryRules = field(default_factory=RetryRules)
    failure_limit: FailureLimit | None = None
    keep_alive: float = 0.0
    instance_id: Callable[[], str | None] = _unknown
