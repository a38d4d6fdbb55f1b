"""Decode JSON entries so that a mistake in one of them does not end the file."""

from __future__ import annotations

import json
import marshal
import math
import re
import struct
from collections import Counter
from collections.abc import Callable
from json.scanner import make_scanner
from typing import Any, TypeAlias

from cloud_tasks.sources.entries import (
    Item,
    find_problem,
    known_id,
    place_of,
    to_item,
    to_items,
    twice,
)
from cloud_tasks.task import Delivery, Malformed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key twice")
    return mapping


_Scan: TypeAlias = Callable[[str, int], tuple[Any, int]]
_QUICK: Any = json.JSONDecoder()
_UNIQUE: Any = json.JSONDecoder(object_pairs_hook=_unique)
# The scanners below the decoders are faster, with less precise errors. int() refuses the names of
# NaN and infinities, and floats: text that the last scanner accepts holds none.
_SCAN: _Scan = make_scanner(json.JSONDecoder(parse_constant=int))  # type: ignore[arg-type]
_SCAN_UNIQUE: _Scan = make_scanner(
    json.JSONDecoder(object_pairs_hook=_unique, parse_constant=int)  # type: ignore[arg-type]
)
_SCAN_WITHOUT_FLOATS: _Scan = make_scanner(
    json.JSONDecoder(parse_float=int, parse_constant=int)  # type: ignore[arg-type]
)
_INFINITY, _MINUS_INFINITY = struct.pack("<d", math.inf), struct.pack("<d", -math.inf)

#: The characters that matter for finding the end of a value, outside strings and in them.
_OUTSIDE_STRING = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')


class JsonDecoder:
    """The standard library's decoder, except that what it would raise or pass over is recorded.

    That is a key that a mapping has twice, an integer of too many digits, and the text of a number
    that is not finite; :func:`~cloud_tasks.sources.entries.to_item` finds the number itself. To
    look for repeated keys takes a call for each mapping, so it is done only from the first text on
    that has more colons than its entries and their data have keys.

    Attributes:
        problem: the problem of the value decoded last, as the end of a sentence; empty if there
            is none.
    """

    def __init__(self) -> None:
        self.problem = ""
        self._number = ""
        #: Of the value decoded last: the mappings with a key twice, and the keys.
        self._twice: list[tuple[dict[str, Any], str]] = []
        self._at = 0
        self._text = ""
        self._have_floats = self._check_all = False

    def decode(self, text: str, at: int) -> tuple[Any, int]:
        """Decode the value at ``text[at]``; return it and where it ends.

        Raises:
            json.JSONDecodeError: it is incomplete or no JSON.
            RecursionError: it is nested too deeply.
        """
        self.problem = self._number = ""
        self._text, self._at = text, at
        try:
            if not self._check_all:
                value, end = _QUICK.raw_decode(text, at)
                if _repeats_no_key(text[at:end], _count_upper_keys(value)):
                    return value, end
                self._check_all = True
            return _UNIQUE.raw_decode(text, at)  # type: ignore[no-any-return]
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of too many digits, or a key twice
            return self._decode_again()

    def several(self, text: str) -> list[Delivery]:
        """Return the tasks in a list of entries; none if any has to be looked at more closely."""
        try:
            values, end = self._scan(text)
        except (ValueError, StopIteration, RecursionError):
            return []
        if end < len(text):  # the list ends before, and something follows it
            return []
        items, keys = to_items(values)
        if not (self._check_all or _repeats_no_key(text, keys)):
            self._check_all = True
            return self.several(text)
        if self._have_floats:
            # marshal writes each float as its eight bytes, which is by far the fastest way to look
            # at all of them. A text may have the same bytes: then a closer look finds nothing.
            data = marshal.dumps(values)
            if _INFINITY in data or _MINUS_INFINITY in data:
                return []
        return items

    def _scan(self, text: str) -> tuple[list[Any], int]:
        if self._check_all:
            self._have_floats = True
            return _SCAN_UNIQUE(text, 0)
        if not self._have_floats:
            try:
                return _SCAN_WITHOUT_FLOATS(text, 0)
            except json.JSONDecodeError:
                raise
            except ValueError:
                self._have_floats = True
        return _SCAN(text, 0)

    def written(self) -> str:
        """Return the text of the first number in the last value that is not finite."""
        if not self._number:
            self._decode_again()
        return self._number

    def _decode_again(self) -> tuple[Any, int]:
        self.problem = self._number = ""
        self._twice.clear()
        decoder = json.JSONDecoder(
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=self._integer,
            object_pairs_hook=self._mapping,
        )
        value, end = decoder.raw_decode(self._text, self._at)
        if self._twice:
            mapping, key = self._twice[0]
            self.problem = self.problem or twice(key, place_of(value, mapping))
        return value, end

    # -- hooks of the slow decoder

    def _mapping(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            key = Counter(key for key, _ in pairs).most_common(1)[0][0]
            self._twice.append((mapping, key))
        return mapping

    def _float(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            self._number = self._number or text
        return value

    def _constant(self, name: str) -> float:
        self._number = self._number or name
        return float(name)

    def _integer(self, digits: str) -> int:
        # Python limits the digits, because the time to convert them grows with their square.
        try:
            return int(digits)
        except ValueError:
            self.problem = f"holds an integer of {len(digits)} digits, which are too many"
            return 0


def _count_upper_keys(value: Any) -> int:
    """Return how many keys an entry and its data have."""
    if type(value) is not dict:
        return 0
    data = value.get("data")
    return len(value) + (len(data) if type(data) is dict else 0)


def _repeats_no_key(text: str, keys: int) -> bool:
    """Tell whether *keys*, of values that were decoded from *text*, are all there are in it.

    After each key there is a colon, so there are no more keys in the text than colons; and no more
    than colons right after a quotation mark, unless there is a blank in between.
    """
    return text.count(":") <= keys or (
        text.count('":') <= keys
        and " :" not in text
        and "\n:" not in text
        and ("\t" not in text or "\t:" not in text)
        and ("\r" not in text or "\r:" not in text)
    )


def decode_entry(decoder: JsonDecoder, line: bytes) -> dict[str, Any] | None:
    """Return the mapping in *line*; None if there is none by the rules for entries."""
    try:
        text = line.decode("utf-8").strip()
        value, end = decoder.decode(text, 0)
    except (ValueError, RecursionError):
        return None
    if end != len(text) or decoder.problem or type(value) is not dict or find_problem(value):
        return None
    return value


def to_json_item(decoder: JsonDecoder, text: str, position: Callable[[], str]) -> Item:
    """Return the task in *text*, which is one entry and nothing else, or the problem with it."""
    try:
        value, end = decoder.decode(text, 0)
    except json.JSONDecodeError as error:
        return Malformed(position(), f"is no valid JSON: {error.msg} at column {error.pos + 1}")
    except RecursionError:
        return Malformed(position(), "is nested too deeply")
    if end != len(text):
        return Malformed(position(), f"has more than one JSON value, from column {end + 1} on")
    if decoder.problem:
        return Malformed(position(), decoder.problem, known_id(value))
    return to_item(value, position, decoder.written)


class EndOfEntry:
    """Search for the bracket that closes the first value of a text that comes in pieces.

    Each character is looked at once.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._found = False

    def is_in_next(self, text: str) -> bool:
        """Tell whether the closing bracket is in *text*, the next piece; True only once."""
        if self._found:
            return False
        at = 0
        if self._escaped and text:
            at, self._escaped = 1, False
        while match := (_IN_STRING if self._in_string else _OUTSIDE_STRING).search(text, at):
            at = match.end()
            if match.group() == "\\":
                self._escaped = at == len(text)
                at += 1
            elif self._closes(match.group()):
                self._found = True
                return True
        return False

    def _closes(self, mark: str) -> bool:
        if mark == '"':
            self._in_string = not self._in_string
            return False
        self._depth += 1 if mark in "{[" else -1
        return self._depth <= 0
