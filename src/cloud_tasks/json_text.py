"""Writing JSON for every task: the standard library's encoder, made once and not at every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def writer(
    *,
    default: Callable[[Any], Any] | None = None,
    sort_keys: bool = False,
    separators: tuple[str, str] = (", ", ": "),
    allow_nan: bool = True,
) -> Callable[[Any], str]:
    """Return what writes a value as ``json.dumps`` with these arguments does, for less.

    ``json.JSONEncoder`` makes its C part anew at every call, which for few values takes longer
    than to write them. A value that contains itself is a RecursionError, as one that is nested
    too deeply.
    """
    encoder = json.JSONEncoder(
        default=default, sort_keys=sort_keys, separators=separators, allow_nan=allow_nan
    )
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # another Python than CPython
        return encoder.encode
    between, colon = separators
    write = make(
        None, encoder.default, encode_basestring_ascii, None, colon, between,
        sort_keys, False, allow_nan,
    )  # fmt: skip
    return lambda value: "".join(write(value, 0))
