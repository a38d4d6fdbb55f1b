"""Define the mapping that a user's function gets as its second argument.

A module of its own because every child process imports it: the dataclasses of
:mod:`cloud_tasks.task` would triple the cost of that import.
"""

from __future__ import annotations

from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _Dict = dict[str, Any]
else:
    _Dict = dict


class TaskData(_Dict):
    """A task's ``data``, which also answers ``["task_id"]`` and ``["data"]``.

    The documentation of earlier systems promised both keys. A key of that name in the data
    itself wins. Membership, length, iteration, equality and JSON show only the data.
    """

    __slots__ = ("_task_id",)

    def __init__(self, task_id: str, data: Mapping[str, Any]) -> None:
        super().__init__(data)
        self._task_id = task_id

    def __missing__(self, key: str) -> Any:
        if key == "task_id":
            return self._task_id
        if key == "data":
            return self
        raise KeyError(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of *key*, also for the two promised keys, or *default*."""
        try:
            return self[key]
        except KeyError:
            return default

    def __reduce__(self) -> tuple[type[TaskData], tuple[str, dict[str, Any]]]:
        return TaskData, (self._task_id, dict(self))
