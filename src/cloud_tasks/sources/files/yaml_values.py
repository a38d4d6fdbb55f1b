"""Build values from the events of PyYAML's parser: the plain types of YAML 1.1, nothing else.

No tag of a file can make an object of any other class. Whatever has no plain value (an alias, a
merge key, another tag) is recorded as a problem of its entry, whose rest is read all the same.
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
from cloud_tasks.sources.entries import place_of, shown, twice
from cloud_tasks.sources.files.opening import MAX_DEPTH

#: The message for an entry that is nested deeper than allowed, whichever parser finds it.
TOO_DEEP = f"the entry is nested more than {MAX_DEPTH} deep"

_PREFIX = "tag:yaml.org,2002:"
_NUMBERS = (_PREFIX + "int", _PREFIX + "float")
_SCALARS = frozenset(
    _PREFIX + name for name in ("null", "bool", "int", "float", "str", "timestamp", "binary")
)
_COLLECTIONS = {MappingStartEvent: _PREFIX + "map", SequenceStartEvent: _PREFIX + "seq"}

#: Matches a decimal integer; one with a leading zero may be octal, so it is left to PyYAML.
_SHORT_INTEGER = re.compile("[1-9][0-9]{0,17}").fullmatch
#: Texts without quotes that mean that there is no value.
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
#: Matches a number with an exponent, with or without a point.
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+").fullmatch
#: Bounds of the cache of plain texts: characters of each, and their number.
_MAX_CACHED_LENGTH, _MAX_CACHED = 19, 1000
#: Most characters of a number. YAML's base-60 numbers take time with the square of their digits.
_MAX_NUMBER = 100_000


class YamlValues:
    """Builder of the values of one file, by the resolver and constructors of scalars of *loader*.

    *error* makes the error that ends the file, from an event and a sentence.

    Attributes:
        problem: the first problem of the values built since ``begin_entry``; empty if there is
            none.
        number: the text of the first number since then that is not finite.
    """

    def __init__(
        self,
        loader: Any,
        next_event: Callable[[], Any],
        error: Callable[[Any, str], TaskFormatError],
    ) -> None:
        self.problem = self.number = ""
        #: Of the entry: the mappings with a key twice, and the keys.
        self._twice: list[tuple[dict[Any, Any], Any]] = []
        self._next_event = next_event
        self._error = error
        self._constructor = loader("")
        self._constructors = {tag: loader.yaml_constructors[tag] for tag in _SCALARS}
        self._resolvers = loader.yaml_implicit_resolvers
        #: Plain scalars known to be strings, such as the keys of all entries.
        self._strings: set[str] = set()

    def entry(self, event: Any) -> Any:
        """Build the entry that begins with *event*; raises as :meth:`value` does."""
        self.problem = self.number = ""
        self._twice.clear()
        value = self.value(event, 1)
        if self._twice:
            mapping, key = self._twice[0]
            self._refuse(twice(key, place_of(value, mapping)))
        return value

    def value(self, event: Any, depth: int) -> Any:
        """Build the value that begins with *event*, at *depth* in its entry, from 1.

        Raises:
            TaskFormatError: it is nested too deeply.
            RecursionError: it is nested too deeply for Python's stack.
            yaml.YAMLError: the rest of the file is no YAML.
        """
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if kind is AliasEvent:
            return self._refuse(f"uses the alias {shown('*' + event.anchor)}: write the value out")
        if depth > MAX_DEPTH:
            raise self._error(event, TOO_DEEP)
        if event.tag is not None:
            self.is_plain_collection(event)
        return (self._mapping if kind is MappingStartEvent else self._list)(depth)

    def _list(self, depth: int) -> list[Any]:
        values = []
        while type(event := self._next_event()) is not SequenceEndEvent:
            values.append(self.value(event, depth + 1))
        return values

    def _mapping(self, depth: int) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        next_event, strings = self._next_event, self._strings
        while type(event := next_event()) is not MappingEndEvent:
            if type(event) is not ScalarEvent:
                self.value(event, depth + 1)
                key = self._refuse("has a key that is a list or a mapping")
            elif (key := event.value) not in strings or event.tag is not None:
                if key == "<<" and event.implicit[0]:
                    self._refuse("uses the merge key '<<': write the values out")
                key = self._scalar(event)
            if key in mapping:
                self._twice.append((mapping, key))
            event = next_event()
            if type(event) is not ScalarEvent:
                mapping[key] = self.value(event, depth + 1)
            elif depth == 1 and key == "task_id":
                mapping[key] = self._id(event)
            else:
                mapping[key] = self._scalar(event)
        return mapping

    def _id(self, event: Any) -> Any:
        """Return a task's id: the text as it stands in the file, ``010`` or ``12:30`` too."""
        tag, text = event.tag, event.value
        if tag is None or tag == "!":
            return None if event.implicit[0] and text in _NULLS else text
        value = self._scalar(event)
        return value if value is None or isinstance(value, bytes) else text

    def _scalar(self, event: Any) -> Any:
        tag, text = event.tag, event.value
        if tag is not None and tag != "!":
            if tag not in _SCALARS:
                return self._refuse(f"has the tag {shown(tag)}, for which there is no plain value")
            return self._construct(tag, text)
        # Only a scalar without quotes can be anything but a string.
        if not event.implicit[0] or text in self._strings:
            return text
        if _SHORT_INTEGER(text):
            return int(text)
        for resolved, pattern in self._resolvers.get(text[:1], ()):
            if pattern.match(text):
                # A lone "=" or "<<" is a string anywhere but as a key.
                return self._construct(resolved, text) if resolved in _SCALARS else text
        if _EXPONENT(text) and math.isinf(float(text)):
            # For YAML 1.1 a number without a point is a text. Here nobody can have meant one.
            return self._infinite(text)
        if len(self._strings) < _MAX_CACHED and len(text) <= _MAX_CACHED_LENGTH:
            self._strings.add(text)
        return text

    def _construct(self, tag: str, text: str) -> Any:
        if tag in _NUMBERS and len(text) > _MAX_NUMBER:
            return self._refuse(f"holds a number of {len(text)} digits, which are too many")
        try:
            value = self._constructors[tag](self._constructor, yaml.ScalarNode(tag, text))
        except (ValueError, ArithmeticError, LookupError, AttributeError, yaml.YAMLError):
            # The constructors expect a text that fits the tag, and fail in any of these ways.
            kind = tag[len(_PREFIX) :]
            return self._refuse(f"has {shown(text)}, which is no valid {kind}")
        if isinstance(value, float) and not math.isfinite(value):
            self.number = self.number or text
        return value

    def _infinite(self, text: str) -> float:
        self.number = self.number or text
        return math.inf

    def is_plain_collection(self, event: Any) -> bool:
        """Tell whether the list or mapping that *event* begins has no tag; else record that."""
        if event.tag in (None, "!", _COLLECTIONS[type(event)]):
            return True
        self._refuse(f"has the tag {shown(event.tag)}, for which there is no plain value")
        return False

    def _refuse(self, problem: str) -> Any:
        """Record the first problem of an entry; return None in place of the value."""
        self.problem = self.problem or problem
        return None
