"""Functions of every sort that a user may hand over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import date
from typing import Any

from cloud_tasks.worker_data import WorkerData

Data = dict[str, Any]


def plain(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    return False, data["x"] + 1


def three_more(extra: int, task_id: str, data: Data, worker_data: WorkerData) -> Any:
    return False, data["x"] + extra


def closure() -> Callable[[str, Data, WorkerData], Any]:
    extra = 1

    def inner(task_id: str, data: Data, worker_data: WorkerData) -> Any:
        return False, data["x"] + extra

    return inner


class Adder:
    """A callable instance, with a method to be bound as well."""

    def __init__(self, extra: int) -> None:
        self.extra = extra

    def __call__(self, task_id: str, data: Data, worker_data: WorkerData) -> Any:
        return False, data["x"] + self.extra

    def add(self, task_id: str, data: Data, worker_data: WorkerData) -> Any:
        return False, data["x"] + self.extra


SORTS: dict[str, Callable[[str, Data, WorkerData], Any]] = {
    "a function of a module": plain,
    "a lambda": lambda task_id, data, worker_data: (False, data["x"] + 1),
    "a closure": closure(),
    "a partial": functools.partial(three_more, 1),
    "a callable instance": Adder(1),
    "a bound method": Adder(1).add,
}


class Point:
    """An object of the user's own class."""

    def __init__(self, x: int) -> None:
        self.x = x


class Cursed:
    """Can be pickled and not unpickled."""

    def __reduce__(self) -> Any:
        return _curse, ()


def _curse() -> None:
    raise ValueError("cursed")


def takes_objects(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    when: date = data["when"]
    return False, [when.isoformat(), data["pair"] == (1, 2), data["point"].x, sorted(data["set"])]
