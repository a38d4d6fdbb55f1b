"""Read a YAML list of tasks entry by entry, in memory that does not grow with the file.

    TextFeed ──► _ParserInput ──► PyYAML's parser ──► events ──► YamlValues ──► task or Malformed
                 (bad characters,  (libyaml where                (one value
                  size of an entry) there is one)                 an entry)

Only the events of the parser are used, never its constructor of whole documents. An entry that
holds something without a plain value is malformed and hurts no other; an error of syntax ends the
file, after all entries before it were given out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from yaml.events import (
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from cloud_tasks.errors import SourceError, TaskFormatError
from cloud_tasks.sources.entries import Item, known_id, to_item
from cloud_tasks.sources.files.opening import MAX_ENTRY, resembles
from cloud_tasks.sources.files.text_feed import Place, TextFeed
from cloud_tasks.sources.files.yaml_values import TOO_DEEP, YamlValues
from cloud_tasks.task import Malformed

#: Characters of the beginning of a file that are kept for a message.
_HEAD = 1000
_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE


class YamlListReader:
    """Reads the text of a YAML list.

    Uses the parser, resolver and constructors of scalars of *loader*, a safe loader class of
    PyYAML; None: the one written in C if it is installed.
    """

    def __init__(self, feed: TextFeed, loader: Any = None) -> None:
        loader = loader or getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._feed = feed
        self._input = _ParserInput(feed)
        # Bound without a wrapper that turns YAML errors into ours: `_item` does that once for
        # all events of an entry, which are many.
        self._next_event = loader(self._input).get_event
        self._values = YamlValues(loader, self._next_event, self._error)
        self._count = 0
        self._line = 1  # of the entry's beginning

    def begin(self) -> None:
        """Read up to the beginning of the list."""
        event = self._event()
        while isinstance(event, (StreamStartEvent, DocumentStartEvent)):
            event = self._event()
        if isinstance(event, StreamEndEvent) or _is_empty(event):
            raise TaskFormatError(f"{self._feed.name} is empty: expected a YAML list of tasks")
        if not isinstance(event, SequenceStartEvent):
            found = "a mapping" if isinstance(event, MappingStartEvent) else "a single value"
            hint = resembles(self._input.head)
            raise self._error(event, f"expected a list of tasks, not {found}{hint}")
        if not self._values.is_plain_collection(event):
            raise self._error(event, self._values.problem)

    def items(self) -> Iterator[Item]:
        """Yield the task of each entry, or the problem with it."""
        while not isinstance(event := self._event(), SequenceEndEvent):
            yield self._item(event)
            self._input.begin_entry()
        self._event()  # the end of the document
        event = self._event()
        if not isinstance(event, StreamEndEvent):
            raise self._error(event, "expected nothing after the list, but there is a document")

    def _item(self, event: Any) -> Item:
        """Read the entry that begins with *event*."""
        self._count += 1
        self._line = event.start_mark.line + 1
        try:
            value = self._values.entry(event)
        except RecursionError:
            raise self._error(event, "the entry is nested too deeply") from None
        except yaml.YAMLError as error:
            raise self._bad_yaml(error) from error
        if self._values.problem:
            return Malformed(self._position(), self._values.problem, known_id(value))
        return to_item(value, self._position, lambda: self._values.number)

    def _position(self) -> str:
        return f"entry {self._count} (line {self._line})"

    def _event(self) -> Any:
        try:
            return self._next_event()
        except yaml.YAMLError as error:
            raise self._bad_yaml(error) from error

    def _bad_yaml(self, error: yaml.YAMLError) -> TaskFormatError:
        if isinstance(error, yaml.MarkedYAMLError):
            mark = error.problem_mark or error.context_mark
            place = _place(mark) if mark else Place()
            # Versions of libyaml have nesting limits of their own, in the thousands, and meet
            # them before our count of events: they scan "[[[[" to its end for the first event.
            if "nest" in (error.problem or "").lower():
                return self._feed.error(place, TOO_DEEP)
            context = f", {error.context}" if error.context else ""
            return self._feed.error(place, f"no valid YAML: {error.problem}{context}")
        reason = str(error).partition("\n")[0]
        return TaskFormatError(f"{self._feed.name} is no valid YAML: {reason}")

    def _error(self, event: Any, problem: str) -> TaskFormatError:
        return self._feed.error(_place(event.start_mark), problem)


class _ParserInput:
    """The file object that the parser reads from.

    Attributes:
        head: the beginning of the file.
    """

    def __init__(self, feed: TextFeed) -> None:
        self.head = ""
        self._feed = feed
        self._text = ""
        self._at = 0  # in the text: the next character for the parser
        self._entry_size = 0  # characters given to the parser since the entry began
        self._ended = False
        self._failure: SourceError | None = None

    def begin_entry(self) -> None:
        """Count the size of an entry from here on."""
        self._entry_size = 0

    def read(self, size: int) -> str:
        """Return up to *size* characters, none at the end; blocks until there are some.

        Raises:
            SourceError: reading failed.
            TaskFormatError: a character is not allowed in YAML, or the entry is too long.
        """
        if self._at == len(self._text) and not self._ended:
            self._read_piece()
        text = self._text[self._at : self._at + size]
        if not text and self._failure:
            raise self._failure
        self._at += len(text)
        self._entry_size += len(text)
        if self._entry_size > MAX_ENTRY:
            raise TaskFormatError(
                f"{self._feed.name} has an entry of more than {MAX_ENTRY} characters: "
                "put large data into a file of its own and name that in the task"
            )
        return text

    def _read_piece(self) -> None:
        """Read the next piece; an error is kept until the parser has got the text before it."""
        place = self._feed.place
        text = ""
        try:
            text = self._feed.read()
        except SourceError as error:
            self._failure = error
        # The parser would find such characters as well, but at once and without naming the
        # line, so the good entries before them would be lost.
        if bad := _UNPRINTABLE.search(text):
            text = text[: bad.start()]
            self._failure = self._feed.error(
                place.after(text, len(text)), f"YAML does not allow the character {bad.group()!a}"
            )
        self._ended = not text or self._failure is not None
        self._text, self._at = text, 0
        self.head = self.head or text[:_HEAD]


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _is_empty(event: Any) -> bool:
    """Tell whether *event* is all of a document without content, such as comments alone."""
    return isinstance(event, ScalarEvent) and event.value == "" and event.implicit[0]
