"""Decode JSON entries so that a mistake in one of them does not end the file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.scanner import make_scanner
from typing import Any

from cloud_tasks.sources.entries import Item, known_id, to_item
from cloud_tasks.task import Malformed

#: The characters that matter for finding the end of a value, outside strings and in them.
_OUTSIDE_STRING = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')


class JsonDecoder:
    """The standard library's decoder, except that a bad number is recorded instead of raised.

    Attributes:
        problem: the problem of the value decoded last, as the end of a sentence; empty if there
            is none. Callers of :attr:`scan` clear it before.
        scan: the scanner below the standard decoder: faster, with less precise errors. It raises
            StopIteration for text that can't begin a value, and a ValueError that is no
            JSONDecodeError for an integer of too many digits.
    """

    def __init__(self) -> None:
        self.problem = ""
        decoder: Any = json.JSONDecoder(parse_constant=self._constant)
        self.scan: Callable[[str, int], tuple[Any, int]] = make_scanner(decoder)
        self._decode = decoder.raw_decode
        # A parse_int of our own costs a call for every integer, so only the entries that need
        # it are decoded with it.
        self._decode_long_integers = json.JSONDecoder(
            parse_constant=self._constant, parse_int=self._integer
        ).raw_decode

    def decode(self, text: str, at: int) -> tuple[Any, int]:
        """Decode the value at ``text[at]``; return it and where it ends.

        Raises:
            json.JSONDecodeError: it is incomplete or no JSON.
            RecursionError: it is nested too deeply.
        """
        self.problem = ""
        try:
            value, end = self._decode(text, at)
        except json.JSONDecodeError:
            raise
        except ValueError:
            value, end = self._decode_long_integers(text, at)
        return value, end

    def _constant(self, name: str) -> None:
        self.problem = f"holds {name}, which is no JSON number"

    def _integer(self, digits: str) -> int:
        # Python limits the digits, because the time to convert them grows with their square.
        try:
            return int(digits)
        except ValueError:
            self.problem = f"holds an integer of {len(digits)} digits, which are too many"
            return 0


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
    return to_item(value, position)


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
