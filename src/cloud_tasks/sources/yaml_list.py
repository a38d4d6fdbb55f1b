"""Reading a YAML list of tasks entry by entry, in memory that does not grow with the file.

The parser of PyYAML gives events; the values are built here, from the types of YAML 1.1 and from
nothing else, so no tag of a file can make an object of any other class. What can't be had that
way (aliases, merge keys, other tags) makes its entry malformed; a mistake of syntax ends the
file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.entries import Item, known_id, shown, to_item
from cloud_tasks.sources.opening import MAX_DEPTH, MAX_ENTRY
from cloud_tasks.sources.text import Place, TextFeed
from cloud_tasks.task import Malformed

_PREFIX = "tag:yaml.org,2002:"
_NUMBERS = (_PREFIX + "int", _PREFIX + "float")
_SCALARS = frozenset(
    _PREFIX + name for name in ("null", "bool", "int", "float", "str", "timestamp", "binary")
)
_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE
_COLLECTIONS = {MappingStartEvent: _PREFIX + "map", SequenceStartEvent: _PREFIX + "seq"}

#: One that is written as anywhere else; with a zero at its beginning it may be octal.
_SHORT_INTEGER = re.compile("[1-9][0-9]{0,17}").fullmatch
#: Texts of fewer characters are known again, so many of them at most.
_SHORT, _TEXTS = 20, 1000
#: Numbers may be written to the base of 60, and that takes time with the square of the digits.
_MAX_NUMBER = 100_000


class YamlListReader:
    """Reads the text of a YAML list; an entry that is no task hurts no neighbour.

    Args:
        feed: the text.
        loader: a safe loader class of PyYAML, of which the parser, the resolver and the makers
            of scalars are used; the one in C where there is one.
    """

    def __init__(self, feed: TextFeed, loader: Any = None) -> None:
        self._feed = feed
        self._input = _Input(feed)
        safe = loader or getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._loader = safe(self._input)
        self._resolvers = safe.yaml_implicit_resolvers
        self._makers = {tag: safe.yaml_constructors[tag] for tag in _SCALARS}
        # Without what tells of errors: `items` does, once for each entry.
        self._next = self._loader.get_event
        self._texts: set[str] = set()  # plain scalars that are texts, such as keys
        self._count = 0
        self._line = 1
        self._problem = ""

    def begin(self) -> None:
        """Read up to the beginning of the list.

        Raises:
            TaskFormatError: the file is empty, or no list.
        """
        event = self._event()
        while isinstance(event, (StreamStartEvent, DocumentStartEvent)):
            event = self._event()
        if isinstance(event, StreamEndEvent) or _is_nothing(event):
            raise TaskFormatError(f"{self._feed.name} is empty: expected a YAML list of tasks")
        if not isinstance(event, SequenceStartEvent):
            what = "a mapping" if isinstance(event, MappingStartEvent) else "a single value"
            raise self._error(event, f"expected a list of tasks, not {what}")
        if not self._collection_is_plain(event):
            raise self._error(event, self._problem)

    def items(self) -> Iterator[Item]:
        """Yield what is made of each entry.

        Raises:
            TaskFormatError: the rest of the file is no YAML, or was cut off.
            SourceError: reading failed.
        """
        while not isinstance(event := self._event(), SequenceEndEvent):
            self._count += 1
            self._line = event.start_mark.line + 1
            self._problem = ""
            try:
                value = self._value(event, 1)
            except RecursionError:
                raise self._error(event, "the entry is nested too deeply") from None
            except yaml.YAMLError as error:
                raise self._bad_yaml(error) from error
            if self._problem:
                yield Malformed(self._position(), self._problem, known_id(value))
            else:
                yield to_item(value, self._position)
            self._input.new_entry()
        self._event()  # the end of the document
        event = self._event()
        if not isinstance(event, StreamEndEvent):
            raise self._error(event, "expected nothing after the list, but there is a document")

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
            place = Place(mark.line + 1, mark.column + 1) if mark else Place()
            context = f", {error.context}" if error.context else ""
            return self._feed.error(place, f"no valid YAML: {error.problem}{context}")
        reason = str(error).partition("\n")[0]
        return TaskFormatError(f"{self._feed.name} is no valid YAML: {reason}")

    def _error(self, event: Any, problem: str) -> TaskFormatError:
        mark = event.start_mark
        return self._feed.error(Place(mark.line + 1, mark.column + 1), problem)

    def _value(self, event: Any, depth: int) -> Any:
        """Build the value that begins with *event*."""
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if kind is AliasEvent:
            return self._refused(f"uses the alias {shown('*' + event.anchor)}: write the value out")
        if depth > MAX_DEPTH:
            raise self._error(event, f"the entry is nested more than {MAX_DEPTH} deep")
        self._collection_is_plain(event)
        return (self._mapping if kind is MappingStartEvent else self._list)(depth)

    def _list(self, depth: int) -> list[Any]:
        values = []
        while type(event := self._next()) is not SequenceEndEvent:
            values.append(self._value(event, depth + 1))
        return values

    def _mapping(self, depth: int) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        while type(event := self._next()) is not MappingEndEvent:
            if type(event) is ScalarEvent:
                if event.value == "<<" and event.implicit[0]:
                    self._refused("uses the merge key '<<': write the values out")
                key = self._scalar(event)
            else:
                self._value(event, depth + 1)
                key = self._refused("has a key that is a list or a mapping")
            event = self._next()
            scalar = type(event) is ScalarEvent
            mapping[key] = self._scalar(event) if scalar else self._value(event, depth + 1)
        return mapping

    def _scalar(self, event: Any) -> Any:
        value = event.value
        tag = event.tag
        if tag is None or tag == "!":
            if value in self._texts or not event.implicit[0]:
                return value
            if _SHORT_INTEGER(value):
                return int(value)
            for tag, pattern in self._resolvers.get(value[:1], ()):  # noqa: B007 - used below
                if pattern.match(value):
                    break
            else:
                if len(self._texts) < _TEXTS and len(value) < _SHORT:
                    self._texts.add(value)
                return value
            if tag not in _SCALARS:  # a lone "=" or "<<", which is text anywhere but as a key
                return value
        elif tag not in _SCALARS:
            return self._refused(f"has the tag {shown(tag)}, for which there is no plain value")
        return self._made(tag, value)

    def _made(self, tag: str, text: str) -> Any:
        if tag in _NUMBERS and len(text) > _MAX_NUMBER:
            return self._refused(f"holds a number of {len(text)} digits, which are too many")
        try:
            value = self._makers[tag](self._loader, yaml.ScalarNode(tag, text))
        except (ValueError, ArithmeticError, LookupError, AttributeError, yaml.YAMLError):
            # Whatever the makers stumble over: they expect a text that fits the tag.
            kind = tag[len(_PREFIX) :]
            return self._refused(f"has {shown(text)}, which is no valid {kind}")
        if isinstance(value, float) and not math.isfinite(value):
            return self._refused(f"holds {shown(text)}, which is no finite number")
        return value

    def _collection_is_plain(self, event: Any) -> bool:
        if event.tag in (None, "!", _COLLECTIONS[type(event)]):
            return True
        self._refused(f"has the tag {shown(event.tag)}, for which there is no plain value")
        return False

    def _refused(self, problem: str) -> Any:
        """Note the first problem of an entry, whose rest is read only to get past it."""
        self._problem = self._problem or problem
        return None


class _Input:
    """The file that the parser reads; ends an entry that has no end."""

    def __init__(self, feed: TextFeed) -> None:
        self.name = feed.name
        self._feed = feed
        self._size = 0
        self._place = Place()
        self._failure: TaskFormatError | None = None

    def new_entry(self) -> None:
        self._size = 0

    def read(self, size: int) -> str:
        if self._failure:
            raise self._failure
        text = self._feed.read(size)
        # The parser would find these as well, but at once and without telling the line, and so
        # would swallow the good entries before.
        bad = _UNPRINTABLE.search(text)
        if bad:
            text = text[: bad.start()]
        self._place = self._place.after(text, len(text))
        if bad:
            problem = f"YAML does not allow the character {bad.group()!a}"
            self._failure = self._feed.error(self._place, problem)
            if not text:
                raise self._failure
        self._size += len(text)
        if self._size > MAX_ENTRY:
            raise TaskFormatError(
                f"{self.name} has an entry of more than {MAX_ENTRY} characters: "
                "put large data into a file of its own and name that in the task"
            )
        return text


def _is_nothing(event: Any) -> bool:
    """Tell whether a document holds nothing at all, as one of comments only does."""
    return isinstance(event, ScalarEvent) and event.value == "" and event.implicit[0]
