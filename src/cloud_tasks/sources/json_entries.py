"""Decoding one JSON value so that what only concerns its entry does not end the file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.scanner import make_scanner
from typing import Any

from cloud_tasks.sources.entries import Item, known_id, to_item
from cloud_tasks.task import Malformed

_MARK = re.compile(r'["{}\[\]]')
_STRING_MARK = re.compile(r'["\\]')


class JsonDecoder:
    """The standard decoder, which notes numbers that are no numbers instead of giving up.

    Attributes:
        problem: what is wrong with the value decoded last, as the end of a sentence; empty if
            nothing is. Whoever uses :attr:`scan` clears it.
        scan: the scanner below the standard decoder: fast, and sparing of words. It raises
            StopIteration for what can't be the beginning of a value, and a ValueError that is
            no JSONDecodeError for an integer of too many digits.
    """

    def __init__(self) -> None:
        self.problem = ""
        decoder: Any = json.JSONDecoder(parse_constant=self._constant)
        self.scan: Callable[[str, int], tuple[Any, int]] = make_scanner(decoder)
        self._decode = decoder.raw_decode
        # A parse_int of our own costs a call for every integer, so it is kept for the entries
        # that need it.
        self._careful = json.JSONDecoder(
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
            value, end = self._careful(text, at)
        return value, end

    def _constant(self, name: str) -> None:
        self.problem = f"holds {name}, which is no JSON number"

    def _integer(self, digits: str) -> int:
        # Python limits the digits, since the time to convert them grows with their square.
        try:
            return int(digits)
        except ValueError:
            self.problem = f"holds an integer of {len(digits)} digits, which are too many"
            return 0


def to_json_item(decoder: JsonDecoder, text: str, position: Callable[[], str]) -> Item:
    """Make of *text*, which is one entry and nothing else, its task, or say why it is none."""
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
    """Watches text go by for the bracket that closes its first value; sees each letter once."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._over = False

    def in_next(self, text: str) -> bool:
        """Tell whether the closing bracket is in *text*, the continuation; True only once."""
        if self._over:
            return False
        at = 0
        if self._escaped and text:
            at, self._escaped = 1, False
        while match := (_STRING_MARK if self._in_string else _MARK).search(text, at):
            at = match.end()
            if match.group() == "\\":
                self._escaped = at == len(text)
                at += 1
            elif self._closes(match.group()):
                self._over = True
                return True
        return False

    def _closes(self, mark: str) -> bool:
        if mark == '"':
            self._in_string = not self._in_string
            return False
        self._depth += 1 if mark in "{[" else -1
        return self._depth <= 0
