"""What the console is told of a run, beside its counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_tasks.executors.base import Running


def _one() -> int:
    """Know of one slot."""
    return 1


def _nobody_knows(task_id: str) -> str | None:
    """Know no command."""
    return None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run, and whom to ask for the rest.

    Attributes:
        name: of the user's function.
        slots: returns how many tasks may run at once.
        running: returns what runs; called by the thread that shows it, must not block.
        max_runtime: of a task, in seconds; None: no limit.
        isolated: the end of a task's process touches no other task.
        see: returns the command that shows what a task printed; None: there is none.
        alone: returns the command that runs a task alone; None: there is none.
    """

    name: str = "tasks"
    slots: Callable[[], int] = _one
    running: Callable[[], Sequence[Running]] = list
    max_runtime: float | None = None
    isolated: bool = False
    see: Callable[[str], str | None] = _nobody_knows
    alone: Callable[[str], str | None] = _nobody_knows
