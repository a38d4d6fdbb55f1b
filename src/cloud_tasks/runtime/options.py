"""Define the options of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.policy import FailureLimit, RetryRules
from cloud_tasks.selection.base import SelectAll, Selection


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a run.

    What has a default in the settings has none here: a default here means "off" or "no limit".

    Attributes:
        executor: the options of the executor, without the callbacks, which the run adds.
        max_runtime: limit of each task, in seconds.
        grace: seconds that running tasks get after a stop.
        skip: number of tasks to leave out at the beginning of the source.
        limit: number of tasks to start, at most; None means no limit.
        selection: chooses among the tasks after the skipped ones.
        rules: which outcomes are retried.
        failure_limit: ends the run when too many tasks have failed; None means no limit.
        keep_alive: seconds between two keep-alive events; 0 means none.
        job_id: of the job that the worker belongs to; None: it has no name.
        instance_id: returns the provider's name of this machine, None if unknown; may block. None:
            there is no provider.
    """

    executor: ExecutorOptions
    max_runtime: float
    grace: float
    skip: int = 0
    limit: int | None = None
    selection: Selection = field(default_factory=SelectAll)
    rules: RetryRules = field(default_factory=RetryRules)
    failure_limit: FailureLimit | None = None
    keep_alive: float = 0.0
    job_id: str | None = None
    instance_id: Callable[[], str | None] | None = None
