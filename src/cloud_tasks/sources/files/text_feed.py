"""Decode the text of a task file piece by piece, keeping count of lines and columns."""

from __future__ import annotations

import codecs
from typing import NamedTuple

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.files.opening import ByteFeed


class Place(NamedTuple):
    """A line and a column of a text, both from 1."""

    line: int = 1
    column: int = 1

    def after(self, text: str, end: int) -> Place:
        """Return the place of ``text[end]``, where *text* begins at this place."""
        return Place(self.line + text.count("\n", 0, end), self.column_after(text, end))

    def column_after(self, text: str, end: int) -> int:
        """Return the column of ``text[end]`` alone, without counting lines."""
        newline = text.rfind("\n", 0, end)
        return self.column + end if newline < 0 else end - newline


class TextFeed:
    """The characters of a task file, in the pieces in which they come.

    Attributes:
        name: name of the file in messages.
        live: its next characters may take long to come.
        place: the place after the text that was returned.
    """

    def __init__(self, feed: ByteFeed) -> None:
        self.name = feed.name
        self.live = feed.live
        self._feed = feed
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.place = Place()
        self._failure: TaskFormatError | None = None
        self._ended = False

    def read(self) -> str:
        """Return the next characters, none at the end; blocks until there are some.

        Raises:
            SourceError: reading failed.
            TaskFormatError: the next bytes are no UTF-8; the text before was returned.
        """
        text = ""
        while not text and not self._ended:
            if self._failure:
                raise self._failure
            data = self._feed.read()
            self._ended = not data
            try:
                text = self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                text = self._good_part(error)
        self.place = self.place.after(text, len(text))
        return text

    def error(self, place: Place, problem: str) -> TaskFormatError:
        """Return the error for *problem* at *place* of the file."""
        return TaskFormatError(f"{self.name}, line {place.line}, column {place.column}: {problem}")

    def _good_part(self, error: UnicodeDecodeError) -> str:
        """Return the text before the bad byte, and keep the error for the next read."""
        text = error.object[: error.start].decode("utf-8")
        problem = f"byte 0x{error.object[error.start]:02x} is no UTF-8 here: save the file as UTF-8"
        self._failure = self.error(self.place.after(text, len(text)), problem)
        self._ended = False  # so that the next read raises it
        return text
