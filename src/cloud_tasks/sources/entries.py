"""The one rule of what a task looks like, for every local source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import TypeAlias

from cloud_tasks.task import Delivery, Malformed, Task

#: What a local source makes of one entry.
Item: TypeAlias = Delivery | Malformed

#: What a named tuple calls in the end; for every entry of a file, the way there takes as long as
#: to read it.
_new = tuple.__new__

_SHOWN = 80
_KEPT_ID = 200

_KINDS: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a mapping",
}


def shown(value: object, limit: int = _SHOWN) -> str:
    """Render *value* for a message: on one line, short, without raw control characters."""
    if isinstance(value, str) and len(value) > limit:
        return repr(value[:limit]) + "..."
    text = repr(value)
    return text if len(text) <= limit + 2 or isinstance(value, str) else text[:limit] + "..."


def kind(value: object) -> str:
    """Name the kind of *value* in the words of a task file: ``a list``, ``null``."""
    return _KINDS.get(type(value)) or f"of type {type(value).__name__}"


def to_items(values: Sequence[object]) -> list[Delivery]:
    """Make deliveries of several entries; none if one of them is no task."""
    # As `to_item` does it, without a call for each: of a long list that is a twentieth.
    items = [
        _new(Delivery, (_new(Task, (task_id, data)), None, None))
        for value in values
        if type(value) is dict
        and type(task_id := value.get("task_id")) is str
        and task_id
        and type(data := value.get("data")) is dict
    ]
    if len(items) == len(values):
        return items
    with_care = [to_item(value, str) for value in values]
    good = [item for item in with_care if type(item) is Delivery]
    return good if len(good) == len(values) else []


def to_item(value: object, position: Callable[[], str]) -> Item:
    """Make of one entry the delivery of its task, or say why it is no task.

    Args:
        value: the entry as it was read; a :class:`~cloud_tasks.task.Task` passes.
        position: tells where the entry stands; asked only when something is wrong with it.
    """
    if type(value) is dict:
        task_id = value.get("task_id")
        data = value.get("data")
        if type(task_id) is str and task_id and type(data) is dict:
            return _new(Delivery, (_new(Task, (task_id, data)), None, None))
    return _to_item_with_care(value, position)


def _to_item_with_care(value: object, position: Callable[[], str]) -> Item:
    if isinstance(value, Task):
        value = {"task_id": value.task_id, "data": value.data}
    if not isinstance(value, Mapping):
        problem = f"is {kind(value)}, not a mapping with 'task_id' and 'data'"
        return Malformed(position(), problem)
    if "task_id" not in value:
        return Malformed(position(), "has no 'task_id'")
    task_id, problem = _task_id(value["task_id"])
    if problem:
        return Malformed(position(), problem)
    if "data" not in value:
        return Malformed(position(), "has no 'data'", _kept(task_id))
    data = value["data"]
    if not isinstance(data, Mapping):
        return Malformed(position(), f"'data' is {kind(data)}, not a mapping", _kept(task_id))
    return Delivery(Task(task_id, data))


def _task_id(value: object) -> tuple[str, str]:
    """Return the id as text, or a problem with it."""
    if isinstance(value, str):
        # str.__str__: the value of a str subclass, whatever its own __str__ makes of it.
        return str.__str__(value), "" if value else "'task_id' is empty"
    if type(value) is not bool and isinstance(value, Integral):
        try:
            return str(int(value)), ""
        except ValueError:  # Python's limit on the digits of an integer
            return "", "'task_id' is a number of too many digits"
    return "", f"'task_id' is {kind(value)}, not a string"


def known_id(value: object) -> str | None:
    """Return the id of an entry that is refused for another reason, if it has a good one."""
    if not isinstance(value, Mapping):
        return None
    return _kept(_task_id(value.get("task_id"))[0]) or None


def _kept(task_id: str) -> str:
    # An id of a megabyte must not flood every place that tells of the entry.
    return task_id if len(task_id) <= _KEPT_ID else task_id[:_KEPT_ID] + "..."
