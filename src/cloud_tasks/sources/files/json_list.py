"""Read a JSON list of tasks entry by entry, in memory that does not grow with the file.

    [ {"task_id": ...}, {...}, {...}, {...}, ...        buffer: slides over the text
      └────── one ────┘ └ several at once ┘
           the separator between the two ("}, {") tells where the next entries end

The entries are decoded by the standard library's scanner: several kilobytes at once where they are
good and separated alike, else one by one. Where the buffer ends within an entry the scanner fails;
it is tried again when twice as much text is there, or when the last bracket of the entry has come.
So the work stays linear in the length of the file for entries of any size, and on a pipe an entry
is given out as soon as it is complete.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.entries import Item, known_id, shown, to_item
from cloud_tasks.sources.files.opening import MAX_ENTRY, resembles
from cloud_tasks.sources.files.text_feed import Place, TextFeed
from cloud_tasks.sources.json_entries import EndOfEntry, JsonDecoder
from cloud_tasks.task import Delivery, Malformed

_CLOSING = re.compile(r"[,\]}]")
_BLANK = re.compile(r"[ \t\n\r]*")

#: Within this many characters before the end of the buffer, the scanner may take a word, number
#: or escape that is cut off for a mistake. The longest is an escape of two halves: 12 characters.
_CUT = 16

#: Characters decoded at once. Entries decoded together share their keys, which takes half the time
#: of one after the other; more characters would only take more memory.
_AT_ONCE = 8192

#: Entries read one by one after decoding several at once failed; the number doubles with each
#: further failure, so that a file of bad entries is not decoded 8 kB at a time in vain.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 16, 1024


class JsonListReader:
    """Reads the text of a JSON list."""

    def __init__(self, feed: TextFeed) -> None:
        self._feed = feed
        self._buffer = ""
        self._at = 0  # in the buffer: the beginning of the entry, or the next character
        self._origin = Place()  # of the buffer's beginning
        self._ended = False
        self._count = 0
        self._pause = 0  # entries to read one by one before several at once are tried
        self._next_pause = _SHORTEST_PAUSE
        self._decoder = JsonDecoder()

    def begin(self) -> None:
        """Read up to the bracket that opens the list."""
        first = self._skip_blank()
        if not first:
            raise TaskFormatError(f"{self._feed.name} is empty: expected a JSON list of tasks")
        if first != "[":
            hint = resembles(self._buffer[self._at :])
            raise self._error(
                f"expected '[', the beginning of a list of tasks, not {first!r}{hint}"
            )
        self._at += 1

    def items(self) -> Iterator[Item]:
        """Yield the task of each entry, or the problem with it."""
        return itertools.chain.from_iterable(self._pieces())

    def _pieces(self) -> Iterator[Sequence[Item]]:
        """Yield one entry, then as many as can be decoded at once, and so on."""
        more = self._skip_blank() != "]"
        while more:
            yield [self._one()]
            end, buffer = self._at, self._buffer
            more = self._to_next()
            if self._pause:
                self._pause -= 1
            elif more and buffer is self._buffer:
                yield from self._several(buffer[end - 1 : self._at + 1])
        self._finish()

    def _one(self) -> Item:
        """Read the entry at the current place, and move to its end."""
        value, end = self._decode()
        self._count += 1
        if self._decoder.problem:
            item: Item = Malformed(self._position(), self._decoder.problem, known_id(value))
        else:
            item = to_item(value, self._position, self._decoder.written)
        self._at = end
        return item

    def _decode(self) -> tuple[Any, int]:
        try:
            value, end = self._decoder.decode(self._buffer, self._at)
        except (json.JSONDecodeError, RecursionError):
            return self._decode_with_care()
        return (value, end) if self._is_complete(end) else self._decode_with_care()

    def _several(self, separator: str) -> Iterator[list[Delivery]]:
        """Yield the entries up to the last *separator* nearby, as long as all of them are good.

        The separator is the text between the last two entries, with a character of each: ``}, {``.
        """
        if separator[0] != "}" or separator[-1] != "{":
            return
        while (cut := self._buffer.rfind(separator, self._at, self._at + _AT_ONCE)) >= 0:
            items = self._between(self._at, cut + 1)
            if not items:
                # One of them is bad, or the separator was part of a string or an inner list.
                self._pause = self._next_pause
                self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE)
                return
            self._next_pause = _SHORTEST_PAUSE
            self._at = cut + len(separator) - 1
            self._count += len(items)
            yield items

    def _between(self, at: int, end: int) -> list[Delivery]:
        """Return the tasks of the entries in ``buffer[at:end]``; none if any of them is bad.

        Text that ends within an entry leaves a bracket open, so it is never taken for a list.
        """
        return self._decoder.several(f"[{self._buffer[at:end]}]")

    def _position(self) -> str:
        """Return entry and line of the current place, for messages."""
        return f"entry {self._count} (line {self._origin.after(self._buffer, self._at).line})"

    def _to_next(self) -> bool:
        """Move from the end of an entry to the next one; False at the end of the list."""
        mark = self._skip_blank()
        if mark == "]":
            return False
        if mark != ",":
            if not mark:
                raise self._cut_off(f"after entry {self._count}")
            raise self._error(f"expected ',' or ']' after entry {self._count}, not {mark!r}")
        self._at += 1
        self._skip_blank()
        return True

    def _finish(self) -> None:
        self._at += 1
        mark = self._skip_blank()
        if mark:
            hint = ": are these two files, one after the other?" if mark in "[{" else ""
            raise self._error(f"expected nothing after the list, but there is {mark!r}{hint}")

    def _skip_blank(self) -> str:
        """Move to the next character that is not blank and return it, or "" at the end."""
        while True:
            match = _BLANK.match(self._buffer, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if self._ended:
                return ""
            self._slide()
            self._buffer += self._read()

    def _read(self) -> str:
        text = self._feed.read()
        self._ended = not text
        return text

    def _slide(self) -> None:
        """Drop the text before the current place."""
        column = self._origin.column_after(self._buffer, self._at)
        self._buffer = self._buffer[self._at :]
        # Lines are counted from the end, because the remaining text is short.
        self._origin = Place(self._feed.place.line - self._buffer.count("\n"), column)
        self._at = 0

    def _is_complete(self, end: int) -> bool:
        """Tell whether the value that ends at *end* can't be the first half of a number."""
        return self._buffer[end - 1] in "]}" or end + _CUT <= len(self._buffer) or self._ended

    def _decode_with_care(self) -> tuple[Any, int]:
        """Decode the entry at the current place, reading on until all of it is there."""
        self._slide()
        end_of_entry = EndOfEntry() if self._feed.live else None
        if end_of_entry:
            end_of_entry.is_in_next(self._buffer)
        while True:
            try:
                value, end = self._decoder.decode(self._buffer, 0)
            except RecursionError:
                raise self._error(f"entry {self._count + 1} is nested too deeply") from None
            except json.JSONDecodeError as error:
                if not self._may_be_cut(error):
                    raise self._bad_json(error) from None
                if self._ended:
                    raise self._cut_off(f"in entry {self._count + 1}") from None
            else:
                if self._is_complete(end):
                    return value, end
            self._read_more(end_of_entry)

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Tell whether more text could mend *error*."""
        if error.msg.startswith("Unterminated string"):
            return True
        rest = self._buffer[error.pos : error.pos + _CUT + 1]
        return len(rest) <= _CUT and not (self._ended and _CLOSING.search(rest))

    def _read_more(self, end_of_entry: EndOfEntry | None) -> None:
        """Read until the buffer is twice as long, the entry is closed, or the file ends."""
        pieces = [self._buffer]
        size, enough = len(self._buffer), 2 * len(self._buffer)
        while size < enough and not self._ended:
            text = self._read()
            pieces.append(text)
            size += len(text)
            if size > MAX_ENTRY:
                raise self._error(
                    f"entry {self._count + 1} is longer than {MAX_ENTRY} characters: "
                    "put large data into a file of its own and name that in the task"
                )
            if end_of_entry and end_of_entry.is_in_next(text):
                break
        self._buffer = "".join(pieces)

    def _error(self, problem: str) -> TaskFormatError:
        return self._feed.error(self._origin.after(self._buffer, self._at), problem)

    def _bad_json(self, error: json.JSONDecodeError) -> TaskFormatError:
        place = self._origin.after(self._buffer, error.pos)
        reason = f"{error.msg[0].lower()}{error.msg[1:]}"
        problem = f"entry {self._count + 1} is no valid JSON: {reason}"
        text = self._buffer[error.pos : error.pos + 20]
        return self._feed.error(place, f"{problem}, before {shown(text)}" if text else problem)

    def _cut_off(self, where: str) -> TaskFormatError:
        place = self._origin.after(self._buffer, len(self._buffer))
        return self._feed.error(place, f"the file ends {where}: it was cut off, make it again")
