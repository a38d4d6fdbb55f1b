"""Building the values of a YAML file from the events of its parser.

From the types of YAML 1.1 and from nothing else, so no tag of a file can make an object of any
other class. What can't be had that way (aliases, merge keys, other tags) is noted as a problem of
its entry.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.entries import shown
from cloud_tasks.sources.files.opening import MAX_DEPTH

#: What messages say of an entry that is nested deeper than allowed, whichever parser finds it.
TOO_DEEP = f"the entry is nested more than {MAX_DEPTH} deep"

_PREFIX = "tag:yaml.org,2002:"
_NUMBERS = (_PREFIX + "int", _PREFIX + "float")
_SCALARS = frozenset(
    _PREFIX + name for name in ("null", "bool", "int", "float", "str", "timestamp", "binary")
)
_COLLECTIONS = {MappingStartEvent: _PREFIX + "map", SequenceStartEvent: _PREFIX + "seq"}

#: One that is written as anywhere else; with a zero at its beginning it may be octal.
_SHORT_INTEGER = re.compile("[1-9][0-9]{0,17}").fullmatch
#: Texts of fewer characters are known again, so many of them at most.
_SHORT, _TEXTS = 20, 1000
#: Numbers may be written to the base of 60, and that takes time with the square of the digits.
_MAX_NUMBER = 100_000


class YamlValues:
    """Builds values.

    Args:
        loader: a safe loader class of PyYAML, of which the resolver and the makers of scalars
            are used.
        error: makes the error of an event that the file ends with.

    Attributes:
        problem: the first one of the values built since it was cleared; empty if there is none.
        next_event: gives the parser's next event.
    """

    def __init__(self, loader: Any, error: Callable[[Any, str], TaskFormatError]) -> None:
        self.problem = ""
        self.next_event: Callable[[], Any]
        self._maker = loader("")
        self._resolvers = loader.yaml_implicit_resolvers
        self._makers = {tag: loader.yaml_constructors[tag] for tag in _SCALARS}
        self._texts: set[str] = set()  # plain scalars that are texts, such as keys
        self._error = error

    def value(self, event: Any, depth: int) -> Any:
        """Build the value that begins with *event*, at *depth* in its entry, from 1.

        Raises:
            TaskFormatError: it is nested too deeply.
            RecursionError: so is the parser.
            yaml.YAMLError: the rest of the file is no YAML.
        """
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if kind is AliasEvent:
            return self._refused(f"uses the alias {shown('*' + event.anchor)}: write the value out")
        if depth > MAX_DEPTH:
            raise self._error(event, TOO_DEEP)
        self.is_plain_collection(event)
        return (self._mapping if kind is MappingStartEvent else self._list)(depth)

    def _list(self, depth: int) -> list[Any]:
        values = []
        while type(event := self.next_event()) is not SequenceEndEvent:
            values.append(self.value(event, depth + 1))
        return values

    def _mapping(self, depth: int) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        while type(event := self.next_event()) is not MappingEndEvent:
            if type(event) is ScalarEvent:
                if event.value == "<<" and event.implicit[0]:
                    self._refused("uses the merge key '<<': write the values out")
                key = self._scalar(event)
            else:
                self.value(event, depth + 1)
                key = self._refused("has a key that is a list or a mapping")
            event = self.next_event()
            scalar = type(event) is ScalarEvent
            mapping[key] = self._scalar(event) if scalar else self.value(event, depth + 1)
        return mapping

    def _scalar(self, event: Any) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            return self.plain(event.value) if event.implicit[0] else event.value
        if tag not in _SCALARS:
            return self._refused(f"has the tag {shown(tag)}, for which there is no plain value")
        return self._made(tag, event.value)

    def plain(self, text: str) -> Any:
        """Return the value of a scalar that is written without quotes or a tag."""
        if text in self._texts:
            return text
        if _SHORT_INTEGER(text):
            return int(text)
        for tag, pattern in self._resolvers.get(text[:1], ()):
            if pattern.match(text):
                # A lone "=" or "<<" is text anywhere but as a key.
                return self._made(tag, text) if tag in _SCALARS else text
        if len(self._texts) < _TEXTS and len(text) < _SHORT:
            self._texts.add(text)
        return text

    def _made(self, tag: str, text: str) -> Any:
        if tag in _NUMBERS and len(text) > _MAX_NUMBER:
            return self._refused(f"holds a number of {len(text)} digits, which are too many")
        try:
            value = self._makers[tag](self._maker, yaml.ScalarNode(tag, text))
        except (ValueError, ArithmeticError, LookupError, AttributeError, yaml.YAMLError):
            # Whatever the makers stumble over: they expect a text that fits the tag.
            kind = tag[len(_PREFIX) :]
            return self._refused(f"has {shown(text)}, which is no valid {kind}")
        if isinstance(value, float) and not math.isfinite(value):
            return self._refused(f"holds {shown(text)}, which is no finite number")
        return value

    def is_plain_collection(self, event: Any) -> bool:
        """Tell whether the list or mapping that *event* begins has no tag; else note that."""
        if event.tag in (None, "!", _COLLECTIONS[type(event)]):
            return True
        self._refused(f"has the tag {shown(event.tag)}, for which there is no plain value")
        return False

    def _refused(self, problem: str) -> Any:
        """Note the first problem of an entry, whose rest is read only to get past it."""
        self.problem = self.problem or problem
        return None
