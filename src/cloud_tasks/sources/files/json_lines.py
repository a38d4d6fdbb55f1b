"""Read JSON Lines: one task per line; a bad line hurts no other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.entries import Item
from cloud_tasks.sources.files.opening import MAX_ENTRY, ByteFeed, resembles
from cloud_tasks.sources.json_entries import JsonDecoder, to_json_item
from cloud_tasks.task import Malformed

_LIST_OF_TASKS = re.compile(rb"\[\s*(\{|$)")
_BLANKS = b" \t\r\n"


class JsonLinesReader:
    """Reads lines of bytes, not text, so that one that is no UTF-8 is a bad line like any other."""

    def __init__(self, feed: ByteFeed) -> None:
        self._feed = feed
        self._decoder = JsonDecoder()
        self._lines = self._numbered_lines()
        self._first: tuple[int, bytes] | None = None
        self._line = 0
        self._count = 0

    def begin(self) -> None:
        """Read the first line that is not blank."""
        self._first = next(self._lines, None)
        if self._first is None:
            raise TaskFormatError(f"{self._feed.name} is empty: expected a task in every line")
        number, line = self._first
        # A list of something else is a bad line like any other.
        if _LIST_OF_TASKS.match(line):
            raise TaskFormatError(
                f"{self._feed.name}, line {number}: expected one object a line, not a list"
                f"{resembles(line[:1].decode())}"
            )

    def items(self) -> Iterator[Item]:
        """Yield the task of each line, or the problem with it."""
        if self._first:
            yield self._item(*self._first)
            self._first = None
        for number, line in self._lines:
            yield self._item(number, line)

    def _item(self, number: int, line: bytes) -> Item:
        self._line = number
        self._count += 1
        if len(line) > MAX_ENTRY:
            return self._bad(f"is longer than {MAX_ENTRY} bytes: put large data into a file")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            return self._bad(f"is no UTF-8 at column {error.start + 1}")
        return to_json_item(self._decoder, text, self._position)

    def _bad(self, problem: str) -> Malformed:
        return Malformed(self._position(), problem)

    def _position(self) -> str:
        return f"entry {self._count} (line {self._line})"

    def _numbered_lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and stripped bytes of each non-blank line, as soon as it has come."""
        for number, line in enumerate(self._lines_of_any_system(), 1):
            if line := line.strip(_BLANKS):
                yield number, line

    def _lines_of_any_system(self) -> Iterator[bytes]:
        for line in self._whole_lines():
            # Old Macs end lines by CR alone. Where CR LF does, it is the last character.
            if b"\r" in line[:-1]:
                yield from line.split(b"\r")
            else:
                yield line

    def _whole_lines(self) -> Iterator[bytes]:
        pieces: list[bytes] = []  # of the line that has not ended yet
        size = 0
        while data := self._feed.read():
            first, *others = data.split(b"\n")
            if size <= MAX_ENTRY:  # the rest of a line that is too long is dropped
                pieces.append(first)
                size += len(first)
            if others:
                yield b"".join(pieces)
                yield from others[:-1]
                pieces, size = [others[-1]], len(others[-1])
        yield b"".join(pieces)
