"""Reading a YAML list of tasks entry by entry, in memory that does not grow with the file.

The parser of PyYAML gives events, of which ``values`` builds the entries. What has no plain
value makes its entry malformed; a mistake of syntax ends the file. Entries that look like one that
the parser has read are read past it, see ``forms``: that takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
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

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.entries import Item, known_id, to_item
from cloud_tasks.sources.files.text_feed import Place, TextFeed
from cloud_tasks.sources.files.yaml_forms import FormReader
from cloud_tasks.sources.files.yaml_text import YamlText
from cloud_tasks.sources.files.yaml_values import TOO_DEEP, YamlValues
from cloud_tasks.task import Malformed


class YamlListReader:
    """Reads the text of a YAML list; an entry that is no task hurts no neighbour.

    Args:
        feed: the text.
        loader: a safe loader class of PyYAML, of which the parser, the resolver and the makers
            of scalars are used; the one in C where there is one.
    """

    def __init__(self, feed: TextFeed, loader: Any = None) -> None:
        self._feed = feed
        self._text = YamlText(feed)
        self._loader = loader or getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._values = YamlValues(self._loader, self._error)
        self._count = 0
        self._line = 1  # of the entry
        self._lines_before = 0  # those that this parser has not seen
        self._past_parser: FormReader | None = None
        self._begin_parser()

    def _begin_parser(self) -> None:
        # Without what tells of errors: `_item` does, once for each entry.
        self._next = self._values.next_event = self._loader(self._text).get_event

    def begin(self) -> None:
        """Read up to the beginning of the list.

        Raises:
            TaskFormatError: the file is empty, or no list.
        """
        event = self._event()
        directives = None
        while isinstance(event, (StreamStartEvent, DocumentStartEvent)):
            if isinstance(event, DocumentStartEvent):
                directives = event.version or event.tags
            event = self._event()
        if isinstance(event, StreamEndEvent) or _is_nothing(event):
            raise TaskFormatError(f"{self._feed.name} is empty: expected a YAML list of tasks")
        if not isinstance(event, SequenceStartEvent):
            what = "a mapping" if isinstance(event, MappingStartEvent) else "a single value"
            raise self._error(event, f"expected a list of tasks, not {what}")
        if not self._values.is_plain_collection(event):
            raise self._error(event, self._values.problem)
        # A directive before the list would hold for all its entries; and on a pipe, to look for
        # what follows an entry would hold it up.
        if not (directives or event.flow_style or self._feed.live):
            mark: Any = event.start_mark
            self._past_parser = FormReader(self._text, " " * mark.column, self._loader)

    def items(self) -> Iterator[Item]:
        """Yield what is made of each entry.

        Raises:
            TaskFormatError: the rest of the file is no YAML, or was cut off.
            SourceError: reading failed.
        """
        while not isinstance(event := self._event(), SequenceEndEvent):
            if self._past_parser and self._past_parser.due():
                event = yield from self._alike(event, self._past_parser)
            yield self._item(event)
            self._text.new_entry()
        self._event()  # the end of the document
        event = self._event()
        if not isinstance(event, StreamEndEvent):
            raise self._error(event, "expected nothing after the list, but there is a document")

    def _item(self, event: Any) -> Item:
        """Make what is to be made of the entry that begins with *event*."""
        self._count += 1
        self._line = self._lines_before + event.start_mark.line + 1
        self._values.problem = ""
        try:
            value = self._values.value(event, 1)
        except RecursionError:
            raise self._error(event, "the entry is nested too deeply") from None
        except yaml.YAMLError as error:
            raise self._bad_yaml(error) from error
        if self._values.problem:
            return Malformed(self._position(), self._values.problem, known_id(value))
        return to_item(value, self._position)

    def _alike(self, event: Any, past: FormReader) -> Generator[Item, None, Any]:
        """Yield entries that *past* reads, from *event* on; return the event after them."""
        mark = event.start_mark
        for item in past.items(self._text.origin + mark.index - mark.column):
            self._count += 1
            yield item
        if past.lines:
            self._lines_before += mark.line + past.lines
            self._text.begin_at(past.at)
            self._begin_parser()
            while not isinstance(self._event(), SequenceStartEvent):
                pass
            event = self._event()
        return event

    def _position(self) -> str:
        return f"entry {self._count} (line {self._line})"

    def _event(self) -> Any:
        try:
            return self._next()
        except yaml.YAMLError as error:
            raise self._bad_yaml(error) from error

    def _bad_yaml(self, error: yaml.YAMLError) -> TaskFormatError:
        if isinstance(error, yaml.MarkedYAMLError):
            mark = error.problem_mark or error.context_mark
            place = self._place(mark) if mark else Place()
            # Versions of libyaml have nesting limits of their own, in the thousands, and meet them
            # before our count of events: they scan "[[[[" to its end for the first event.
            if "nest" in (error.problem or "").lower():
                return self._feed.error(place, TOO_DEEP)
            context = f", {error.context}" if error.context else ""
            return self._feed.error(place, f"no valid YAML: {error.problem}{context}")
        reason = str(error).partition("\n")[0]
        return TaskFormatError(f"{self._feed.name} is no valid YAML: {reason}")

    def _error(self, event: Any, problem: str) -> TaskFormatError:
        return self._feed.error(self._place(event.start_mark), problem)

    def _place(self, mark: Any) -> Place:
        return Place(self._lines_before + mark.line + 1, mark.column + 1)


def _is_nothing(event: Any) -> bool:
    """Tell whether a document holds nothing at all, as one of comments only does."""
    return isinstance(event, ScalarEvent) and event.value == "" and event.implicit[0]
