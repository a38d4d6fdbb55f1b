"""What a run is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.policy import FailureLimit, RetryRules
from cloud_tasks.selection.base import SelectAll, Selection


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
        selection: chooses which others are run.
        rules: which ends are retried.
        failure_limit: end the run when more tasks failed; None: never.
        task_logs: folder for the output of tasks; None: it is not kept.
        environment: variables of the processes of tasks.
        post_mortem: open the debugger where a task raised.
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
    selection: Selection = field(default_factory=SelectAll)
    rules: RetryRules = field(default_factory=RetryRules)
    failure_limit: FailureLimit | None = None
    task_logs: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    post_mortem: bool = False
    keep_alive: float = 0.0
    instance_id: Callable[[], str | None] = _unknown
    log_level: int | None = None

    def for_executor(
        self,
        *,
        before_wait: Callable[[], None],
        on_broken: Callable[[ExecutorBrokenError], None],
    ) -> ExecutorOptions:
        """Return what the executor is told, see there."""
        return ExecutorOptions(
            slots=self.slots,
            memory_limit=self.memory_limit,
            max_result_bytes=self.max_result_bytes,
            log_level=self.log_level,
            task_logs=self.task_logs,
            environment=self.environment,
            post_mortem=self.post_mortem,
            before_wait=before_wait,
            on_broken=on_broken,
        )
