"""Turn the entries of files, programs and messages into tasks, by one rule for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import TypeAlias

from cloud_tasks.task import Delivery, Malformed, Task

#: The result of reading one entry.
Item: TypeAlias = Delivery | Malformed

#: Makes a named tuple without the call of its own ``__new__``, which takes as long as reading an
#: entry of a JSON file.
_new = tuple.__new__

#: Characters of a value that messages show, and of an id that is kept with a malformed entry.
_MAX_SHOWN = 80
_MAX_ID = 200

_KINDS: Mapping[type, str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "a mapping",
}


def shown(value: object, limit: int = _MAX_SHOWN) -> str:
    """Return *value* for a message: on one line, short, without raw control characters."""
    if isinstance(value, str) and len(value) > limit:
        return repr(value[:limit]) + "..."
    text = repr(value)
    return text if len(text) <= limit + 2 or isinstance(value, str) else text[:limit] + "..."


def raised(error: BaseException) -> str:
    """Return type and text of an exception of the user's code, for messages."""
    name = type(error).__name__
    if isinstance(error, SystemExit) and error.code is None:
        return name
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - the user's class
        text = "<exception str() failed>"
    return f"{name}: {shown(text, 300)}" if text else name


def kind(value: object) -> str:
    """Name the kind of *value* in the words of a task file: ``a list``, ``null``."""
    return _KINDS.get(type(value)) or f"of type {type(value).__name__}"


def to_items(values: Sequence[object]) -> list[Delivery]:
    """Return the deliveries of several entries; none if any of them is no task."""
    # The same as `to_item`, without a call for each, which would be 5 % of a long list.
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
    # An id may be a number, and data any mapping.
    checked = [to_item(value, str) for value in values]
    good = [item for item in checked if type(item) is Delivery]
    return good if len(good) == len(values) else []


def to_item(value: object, position: Callable[[], str]) -> Item:
    """Return the delivery of the task in an entry, or the problem with it.

    *value* is the entry as it was read, or a :class:`~cloud_tasks.task.Task`; *position* is called
    only if there is a problem.
    """
    if type(value) is dict:
        task_id = value.get("task_id")
        data = value.get("data")
        if type(task_id) is str and task_id and type(data) is dict:
            return _new(Delivery, (_new(Task, (task_id, data)), None, None))
    return _check_item(value, position)


def _check_item(value: object, position: Callable[[], str]) -> Item:
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
        return Malformed(position(), "has no 'data'", _shortened(task_id))
    data = value["data"]
    if not isinstance(data, Mapping):
        return Malformed(position(), f"'data' is {kind(data)}, not a mapping", _shortened(task_id))
    return Delivery(Task(task_id, data))


def _task_id(value: object) -> tuple[str, str]:
    """Return the id as text, and the problem with it; one of them is empty."""
    if isinstance(value, str):
        # str.__str__ gives the value of a str subclass that overrides __str__.
        return str.__str__(value), "" if value else "'task_id' is empty"
    if type(value) is not bool and isinstance(value, Integral):
        try:
            return str(int(value)), ""
        except ValueError:  # Python's limit on the digits of an integer
            return "", "'task_id' is a number of too many digits"
    return "", f"'task_id' is {kind(value)}, not a string"


def known_id(value: object) -> str | None:
    """Return the id of a malformed entry, or None if it has no valid one."""
    if not isinstance(value, Mapping):
        return None
    return _shortened(_task_id(value.get("task_id"))[0]) or None


def _shortened(task_id: str) -> str:
    # An id of a megabyte must not fill every message about the entry.
    return task_id if len(task_id) <= _MAX_ID else task_id[:_MAX_ID] + "..."
