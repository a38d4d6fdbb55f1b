"""What comes in: a task, its delivery by a source, and the batch it came with."""

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
        data: what the function gets as its second argument.
    """

    task_id: str
    data: Mapping[str, Any]


class Delivery(NamedTuple):
    """One hand-over of a task by a source.

    Attributes:
        task: what is to be done.
        receipt: the source's own handle for this hand-over; opaque to everybody else.
        attempt: which hand-over of this task it is, from 1; None where the source can't tell.
    """

    task: Task
    receipt: Any = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """An entry of a source that is no task.

    Attributes:
        position: where it stands, for people: ``entry 3 (line 12)``.
        problem: what is wrong with it, as the end of a sentence.
        task_id: its id, where it has one.
        receipt: the source's own handle, where the entry can be taken out of it.
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
    """What one ``receive`` of a source brought.

    Attributes:
        deliveries: tasks to run, in the order of the source.
        malformed: entries that are no tasks.
        ended: the source will give nothing more.
    """

    deliveries: tuple[Delivery, ...] = ()
    malformed: tuple[Malformed, ...] = ()
    ended: bool = False
