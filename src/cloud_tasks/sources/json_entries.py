"""Decode JSON entries so that a mistake in one of them does not end the file."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from json.scanner import make_scanner
from typing import Any

from cloud_tasks.sources.entries import (
    Item,
    count_keys,
    find_problem,
    known_id,
    place_of,
    to_item,
    to_items,
    twice,
)
from cloud_tasks.task import Delivery, Malformed

_QUICK: Any = json.JSONDecoder()
#: The scanner below the decoder: faster, with less precise errors.
_SCAN: Callable[[str, int], tuple[Any, int]] = make_scanner(_QUICK)
#: The same until the first float comes. int() refuses each of them, and NaN, so text that this
#: scanner accepts holds none, and no value has to be looked at.
_WITHOUT_FLOATS: Any = json.JSONDecoder(parse_float=int, parse_constant=int)
_SCAN_WITHOUT_FLOATS: Callable[[str, int], tuple[Any, int]] = make_scanner(_WITHOUT_FLOATS)

#: The characters that matter for finding the end of a value, outside strings and in them.
_OUTSIDE_STRING = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')


class JsonDecoder:
    """The standard library's decoder, except that what it would raise or pass over is recorded.

    That is a key that a mapping has twice, an integer of too many digits, and the text of a number
    that is not finite; :func:`~cloud_tasks.sources.entries.to_item` finds the number itself. To
    look for them takes a call for each mapping and each float, so a text is decoded without first,
    and again only if it has more colons than the result has keys or holds such a number.

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
        self._scan_several = _SCAN_WITHOUT_FLOATS
        self._have_floats = False

    def decode(self, text: str, at: int) -> tuple[Any, int]:
        """Decode the value at ``text[at]``; return it and where it ends.

        Raises:
            json.JSONDecodeError: it is incomplete or no JSON.
            RecursionError: it is nested too deeply.
        """
        self.problem = ""
        self._text, self._at = text, at
        try:
            value, end = _QUICK.raw_decode(text, at)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of too many digits
            return self._decode_again()
        if text.count(":", at, end) > _count_upper_keys(value):
            piece = text[at:end]
            keys, _ = count_keys([value])
            if not _has_no_more_keys(piece, keys):
                return self._decode_again()
        return value, end

    def several(self, text: str) -> list[Delivery]:
        """Return the tasks in a list of entries; none if any has to be looked at more closely."""
        try:
            values, end = self._scan_several(text, 0)
        except json.JSONDecodeError:
            return []
        except ValueError:
            if self._have_floats:
                return []
            self._have_floats, self._scan_several = True, _SCAN
            return self.several(text)
        except (StopIteration, RecursionError):
            return []
        if end < len(text):  # the list ends before, and something follows it
            return []
        items, keys = to_items(values)
        if self._have_floats or keys < text.count(":"):
            keys, finite = count_keys(values)
            if not (finite and _has_no_more_keys(text, keys)):
                return []
        return items

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


def _has_no_more_keys(text: str, keys: int) -> bool:
    """Tell whether the mappings in *text* have no more than *keys* keys, repeated ones counted.

    False: they may have. After each key there is a colon, and in most files the closing quotation
    mark is right before it.
    """
    if text.count(":") <= keys:
        return True
    return text.count('":') <= keys and not any(f"{blank}:" in text for blank in " \t\n\r")


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
