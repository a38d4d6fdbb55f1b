"""Hold the facts about a run that the console shows beside its counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_tasks.executors.base import Running


def _no_command(task_id: str) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Facts about a run, and functions for those that change.

    Attributes:
        name: of the user's function.
        slots: returns how many tasks may run at once.
        running: returns the running tasks; called by the console thread, must not block.
        max_runtime: of a task, in seconds; None: no limit.
        isolated: the death of a task's process affects no other task.
        logs_command: returns the command that shows the output of a task; None: there is none.
        debug_command: returns the command that runs a task alone; None: there is none.
    """

    name: str = "tasks"
    slots: Callable[[], int] = lambda: 1
    running: Callable[[], Sequence[Running]] = list
    max_runtime: float | None = None
    isolated: bool = False
    logs_command: Callable[[str], str | None] = _no_command
    debug_command: Callable[[str], str | None] = _no_command
