"""Define the records that a source hands over: Task, Delivery, Malformed and Batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cloud_tasks.task_data import TaskData

__all__ = ["Batch", "Delivery", "Malformed", "Task", "TaskData"]


class Task(NamedTuple):
    """The unit of a user's work.

    Attributes:
        task_id: the user's name for it; not empty, not necessarily unique.
        data: the second argument of the function.
    """

    task_id: str
    data: Mapping[str, Any]


class Delivery(NamedTuple):
    """One hand-over of a task by a source.

    Attributes:
        task: the task itself.
        receipt: the source's own handle for this hand-over; opaque to all other code.
        attempt: number of this hand-over of the task, from 1; None where the source does not
            count them.
    """

    task: Task
    receipt: Any = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """An entry of a source that is not a task.

    Attributes:
        position: its place in the source, for people: ``entry 3 (line 12)``.
        problem: the fault in it, as the end of a sentence.
        task_id: its id, where it has one.
        receipt: the source's own handle, where the entry can be removed from it.
    """

    position: str
    problem: str
    task_id: str | None = None
    receipt: Any = None

    def __str__(self) -> str:
        named = f", task_id {self.task_id!r}" if self.task_id else ""
        return f"{self.position}{named}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Batch:
    """The result of one ``receive`` of a source.

    Attributes:
        deliveries: tasks to run, in the order of the source.
        malformed: entries that are not tasks.
        ended: the source has no further tasks.
    """

    deliveries: tuple[Delivery, ...] = ()
    malformed: tuple[Malformed, ...] = ()
    ended: bool = False
