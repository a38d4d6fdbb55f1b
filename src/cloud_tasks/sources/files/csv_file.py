"""Read CSV and TSV: a header, then one task per row, whose values stay strings."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.entries import Item, shown, to_item
from cloud_tasks.sources.files.opening import CSV, MAX_ENTRY, resembles
from cloud_tasks.sources.files.text_feed import Place, TextFeed
from cloud_tasks.task import Malformed

#: Most characters of one field; the csv module's default is 128 Ki. Without a limit, a quotation
#: mark that is never closed would make the rest of the file one field.
MAX_FIELD = 16 * 1024 * 1024

_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "vertical bar"}
#: Characters of the beginning of a file that are kept for a message.
_HEAD = 1000
#: Characters in which the end of the first line is looked for.
_LONGEST_HEADER = 1024 * 1024
#: What names of columns may differ in and be nearly the same: case, blanks, marks, a stray BOM.
_TRIFLES = re.compile(r"[^a-z0-9]")


class CsvReader:
    """Reads rows; the id of a task is in the column ``task_id``, else it is ``row-1`` and so on."""

    def __init__(self, feed: TextFeed, delimiter: str = ",") -> None:
        self._feed = feed
        self._delimiter = delimiter
        self._rows = csv.reader(self._lines(), delimiter=delimiter, strict=True)
        self._head = ""  # the beginning of the file
        self._header: list[str] = []
        self._names: list[str] = []
        self._id_column: int | None = None
        self._count = 0
        self._line = 1  # in which the row begins

    def begin(self) -> None:
        """Read the header, whose names must be unique and not empty."""
        try:
            header = self._next_row()
        except csv.Error as error:
            looks = resembles(self._head)
            raise self._error(f"the header is no CSV: {error}{looks}") from error
        if header is None:
            raise TaskFormatError(f"{self._feed.name} is empty: expected a header and rows")
        self._header = header
        self._names = [name.strip() for name in header]
        self._check_header()
        if "task_id" in self._names:
            self._id_column = self._names.index("task_id")
            del self._names[self._id_column]

    def items(self) -> Iterator[Item]:
        """Yield the task of each row, or the problem with it."""
        while True:
            try:
                row = self._next_row()
            except csv.Error as error:
                self._count += 1
                yield self._bad_row(error)
                continue
            if row is None:
                return
            self._count += 1
            yield self._item(row)

    def _bad_row(self, error: csv.Error) -> Malformed:
        if "field limit" in str(error):
            # The text that follows is inside that field, so it can't be divided into rows.
            raise self._error(
                f"a field is longer than {MAX_FIELD} characters: "
                "is there a quotation mark that is never closed?",
            ) from error
        problem = f"is no CSV: {error}"
        if "unexpected end" in str(error):
            problem = "opens a quotation mark that is not closed up to the end of the file"
        return Malformed(self._position(), problem)

    def _item(self, row: list[str]) -> Item:
        if row == self._header:
            problem = "repeats the header: are these two files, one after the other?"
            return Malformed(self._position(), problem)
        expected = len(self._names) + (self._id_column is not None)
        if len(row) != expected:
            return Malformed(
                self._position(), f"has {len(row)} fields, but the header has {expected}"
            )
        task_id = f"row-{self._count}" if self._id_column is None else row.pop(self._id_column)
        data = dict(zip(self._names, row, strict=True))
        return to_item({"task_id": task_id, "data": data}, self._position)

    def _position(self) -> str:
        return f"entry {self._count} (line {self._line})"

    def _next_row(self) -> list[str] | None:
        """Return the next row that is not blank, or None at the end."""
        # The limit is global to the csv module, so it is changed only while we read.
        limit = csv.field_size_limit(MAX_FIELD)
        try:
            while True:
                self._line = self._rows.line_num + 1
                row = next(self._rows, None)
                if row is None or row:
                    return row
        finally:
            csv.field_size_limit(limit)

    def _check_header(self) -> None:
        names = self._names
        looks = resembles(self._head)
        if looks and CSV not in looks:
            raise self._error(f"expected a header with the names of columns{looks}")
        self._check_delimiter()
        for number, name in enumerate(names, 1):
            if not name:
                raise self._error(f"column {number} of the header has no name")
            if name in names[: number - 1]:
                raise self._error(f"the header has the column {shown(name)} twice")
            if _is_nearly_id(name) and "task_id" not in names:
                raise self._error(f"the column {shown(name)} must be named 'task_id'")

    def _check_delimiter(self) -> None:
        for mark, called in _NAMES.items():
            divided = [name for name in self._names if mark in name]
            if mark == self._delimiter or not divided:
                continue
            if len(self._names) == 1 or any(
                _is_nearly_id(p) for n in divided for p in n.split(mark)
            ):
                raise self._error(
                    f"the header is divided by a {called}, "
                    f"but a {_NAMES[self._delimiter]} is expected"
                )

    def _error(self, problem: str) -> TaskFormatError:
        return self._feed.error(Place(self._line), problem)

    def _lines(self) -> Iterator[str]:
        """Yield each line with its line end, as soon as it has come."""
        pieces: list[str] = []
        size = 0
        end = ""
        while text := self._feed.read():
            if not end:
                text, pieces, size = "".join([*pieces, text]), [], 0
                end = _line_end(text)
                self._head = text[:_HEAD]
            first, *others = text.split(end or "\n")
            pieces.append(first)
            size += len(first)
            if size > MAX_ENTRY:
                raise self._error(f"a line is longer than {MAX_ENTRY} characters")
            if others:
                yield "".join(pieces) + end
                for line in others[:-1]:
                    yield line + end
                pieces, size = [others[-1]], len(others[-1])
        if last := "".join(pieces):
            yield last


def _line_end(text: str) -> str:
    """Return the line end of a file that begins with *text*; empty if it is not known yet."""
    if "\n" in text or len(text) > _LONGEST_HEADER:
        return "\n"
    # CR alone is that of old Macs; at the end of the text it may be the first half of CR LF.
    return "\r" if "\r" in text[:-1] else ""


def _is_nearly_id(name: str) -> bool:
    return _TRIFLES.sub("", name.lower()) == "taskid"
