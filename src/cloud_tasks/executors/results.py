"""Results that JSON refused at first: what is wrong with them, or how to write them after all.

Apart from ``call`` because few tasks need it.
"""

from __future__ import annotations

import math
from typing import Any

_DEEPEST = 200


def culprit(value: Any) -> str | None:
    """Name the first part of *value* that JSON can't hold, and where it is; None: there is none.

    NaN and infinities are not named: they become null.
    """
    return _search(value, "result", 0, set())


def _search(value: Any, where: str, depth: int, above: set[int]) -> str | None:
    if value is None or isinstance(value, str | int | float):
        return _unprintable_integer(value, where)
    if not isinstance(value, dict | list | tuple):
        kind = type(value)
        name = (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        )
        return f"{where} is a {name}"
    if id(value) in above:
        return f"{where} contains itself"
    if depth >= _DEEPEST:
        return f"{where[:80]}… is nested more than {_DEEPEST} deep"
    above.add(id(value))
    if isinstance(value, dict):
        found = _search_mapping(value, where, depth, above)
    else:
        parts = (_search(v, f"{where}[{i}]", depth + 1, above) for i, v in enumerate(value))
        found = next((p for p in parts if p is not None), None)
    above.discard(id(value))
    return found


def _search_mapping(value: dict[Any, Any], where: str, depth: int, above: set[int]) -> str | None:
    for key, item in value.items():
        if not (key is None or isinstance(key, str | int | float)):
            return f"{where} has the key {key!r:.80}, which is a {type(key).__name__}"
        found = _search(item, f"{where}[{key!r:.80}]", depth + 1, above)
        if found is not None:
            return found
    return None


def _unprintable_integer(value: Any, where: str) -> str | None:
    if isinstance(value, int) and value.bit_length() > 10_000:
        try:
            str(value)
        except ValueError:
            return f"{where} is an integer with too many digits"
    return None


def without_nan(value: Any) -> Any:
    """Return *value* with every NaN and infinity replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value
