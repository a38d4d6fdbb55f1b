"""Group failures by their cause: of the tasks of a run, or of the attempts in a report.

A module of its own, because a report needs nothing else of :mod:`cloud_tasks.history.failures`,
whose imports would take as long as all others of the report.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from cloud_tasks.events.causes import FailureCause

#: Task ids that a group keeps as examples.
EXAMPLES = 5


@dataclass(slots=True)
class CauseGroup:
    """Failures with the same cause, of a list of failed tasks or of a report.

    Attributes:
        examples: ids of the first few tasks, each once.
    """

    cause: FailureCause
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def count_failure(self, task_id: str) -> None:
        """Count a failure of the task *task_id*."""
        self.count += 1
        if len(self.examples) < EXAMPLES and task_id not in self.examples:
            self.examples.append(task_id)


G = TypeVar("G", bound=CauseGroup)


def ranked(groups: Iterable[G]) -> list[G]:
    """Return *groups* in the order of their counts, the highest first."""
    return sorted(groups, key=lambda group: -group.count)
