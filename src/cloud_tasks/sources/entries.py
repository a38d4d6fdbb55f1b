"""Turn the entries of files, programs and messages into tasks, by the same rules for all.

An entry is a mapping with an id and data. In it every key is text and every number finite, at any
depth, because JSON, in which tasks travel and failures are kept, has no other: a task is the same
task wherever it comes from. No mapping has a key twice, which only a parser can see: the readers
look for it, and the sentence about it is here. All else may be any object.

The check must cost little, as it is made for every task. A glance at the types of the values proves
most entries good; only the others are searched, which also finds the place of the problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, repeat
from numbers import Integral
from operator import itemgetter
from typing import Any, TypeAlias

from cloud_tasks.task import Delivery, Malformed, Task

#: The result of reading one entry.
Item: TypeAlias = Delivery | Malformed

#: Makes a named tuple without the call of its own ``__new__``, which takes as long as reading an
#: entry of a JSON file.
_new = tuple.__new__

#: Characters of a value that messages show, and of an id that is kept with a malformed entry.
_MAX_SHOWN = 80
_MAX_ID = 200
#: Most characters of a number, and of a place in an entry, that messages show.
_MAX_NUMBER, _MAX_PLACE = 40, 120

#: Types of values in which nothing can be wrong.
_PLAIN = frozenset({str, int, bool, type(None)})
_CONTAINERS = frozenset({dict, list, tuple})
_FLOATS = frozenset({float})
#: Parts of a list that are looked at one by one; of more, the types are collected first.
_FEW = 4
_ID, _DATA = itemgetter("task_id"), itemgetter("data")

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


def to_items(values: Sequence[Any]) -> tuple[list[Delivery], int]:
    """Return the deliveries of entries of JSON, and how many keys these and their data have.

    There are no deliveries if any of the entries is no task. Numbers are not checked, and further
    keys of the entries not counted.
    """
    try:
        ids, data = list(map(_ID, values)), list(map(_DATA, values))
    except (TypeError, KeyError):  # of JSON's values, only mappings have keys that are text
        return [], 0
    if not all(ids) or {*map(type, data)} != {dict}:
        return [], 0
    try:
        "".join(ids)  # the fastest way to see that all of them are text
    except TypeError:
        pairs = [_task_id(task_id) for task_id in ids]  # an id may be a number
        if any(problem for _, problem in pairs):
            return [], 0
        ids = [task_id for task_id, _ in pairs]
    # The same as `to_item`, without a call for each, which would be 5 % of a long list.
    tasks = map(_new, repeat(Task), zip(ids, data))  # noqa: B905 - of equal length
    items = list(map(_new, repeat(Delivery), zip(tasks, repeat(None), repeat(None))))
    return items, 2 * len(items) + sum(map(len, data))


def to_item(value: object, position: Callable[[], str], written: Callable[[], str] = str) -> Item:
    """Return the delivery of the task in an entry, or the problem with it.

    *value* is the entry as it was read, or a :class:`~cloud_tasks.task.Task`. The two functions are
    called only if there is a problem; *written* returns the text of the first number that is not
    finite, where there is a text.
    """
    if type(value) is dict and len(value) == 2:
        task_id = value.get("task_id")
        data = value.get("data")
        if type(task_id) is str and task_id and type(data) is dict:
            try:
                fine = _is_fine(data)
            except RecursionError:
                fine = False
            if fine:
                return _new(Delivery, (_new(Task, (task_id, data)), None, None))
    return _check_item(value, position, written)


def _check_item(value: object, position: Callable[[], str], written: Callable[[], str]) -> Item:
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
    # Copied, because a mapping of the program's own may compute its values at each access.
    data = data if type(data) is dict else dict(data)
    problem = find_problem({**value, "data": data}, written)
    if problem:
        return Malformed(position(), problem, _shortened(task_id))
    return Delivery(Task(task_id, data))


# -- what an entry holds


def _is_fine(value: Any) -> bool:
    """Tell whether nothing is wrong in a mapping or list; False: it has to be searched.

    Raises:
        RecursionError: it is nested too deeply.
    """
    parts = value
    if type(value) is dict:
        for key in value:
            if type(key) is not str:
                return False
        parts = value.values()
    elif len(value) > _FEW and _is_plain_list(value):
        return True
    for part in parts:
        kind = type(part)
        if kind is float:
            if not math.isfinite(part):
                return False
        elif kind not in _PLAIN and not (kind in _CONTAINERS and _is_fine(part)):
            return False
    return True


def _is_plain_list(value: Sequence[Any]) -> bool:
    kinds = {*map(type, value)}
    return kinds <= _PLAIN or (kinds == _FLOATS and all(map(math.isfinite, value)))


def find_problem(entry: Mapping[Any, Any], written: Callable[[], str] = str) -> str:
    """Return the first key that is no text or number that is not finite in *entry*, with its place.

    The result is the end of a sentence; it is empty if there is none. *written* as for
    :func:`to_item`.
    """
    try:
        found = _search(entry, written)
    except RecursionError:
        return "is nested too deeply"
    if found is None:
        return ""
    place, problem = found
    place = place.removeprefix(".")
    if len(place) > _MAX_PLACE:
        place = f"{place[:_MAX_PLACE]}..."
    return f"{place} {problem}" if place else problem


def _search(value: Any, written: Callable[[], str]) -> tuple[str, str] | None:
    """Return the place of the first problem in *value*, relative to it, and the problem."""
    if isinstance(value, float) and not math.isfinite(value):
        return "", f"holds {(written() or repr(value))[:_MAX_NUMBER]}, which is no finite number"
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                return "", f"has the key {shown(key)}, which is {kind(key)}, not a string: quote it"
    for key, item in _suspects(value):
        if (found := _search(item, written)) is not None:
            return _step(key) + found[0], found[1]
    return None


def _suspects(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the key or index of each part of *value* in which something may be wrong, and it."""
    if not isinstance(value, (dict, list, tuple)):
        return
    parts = value.values() if isinstance(value, dict) else value
    kinds = {*map(type, parts)}
    if kinds <= _PLAIN or (kinds == {float} and all(map(math.isfinite, parts))):
        return
    for key, item in zip(value if isinstance(value, dict) else count(), parts):  # noqa: B905
        if type(item) not in _PLAIN:
            yield key, item


def _step(key: str | int) -> str:
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f"[{shown(key)}]"
    return f"[{key}]"


def place_of(value: Any, part: dict[str, Any]) -> str:
    """Return the place of the mapping *part* in *value*; empty if it is *value* itself."""
    found = _find(value, part)
    return "" if found is None else found.removeprefix(".")


def _find(value: Any, part: dict[str, Any]) -> str | None:
    if value is part:
        return ""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if (found := _find(item, part)) is not None:
            return _step(key) + found
    return None


def twice(key: str, place: str = "") -> str:
    """Return the end of a sentence about a mapping of an entry that has *key* twice."""
    hint = ": are these two entries?" if not place and key in ("task_id", "data") else ""
    return f"{place + ' ' if place else ''}has the key {shown(key)} twice{hint}"


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
