"""Entries of a YAML file that look like one another, read past the parser.

Nearly all entries of a long task file have the same lines, but for a number or a name at the end
of some. An entry of *plain lines* is one of lines like ``key: text``, ``key:`` and ``- text``, with
a text of words that mean themselves: without quotes, or any sign that YAML has a use for. Its
structure hangs on everything but these texts, so another one that differs in them alone has the
same structure; and what that is, the parser has said of the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import yaml
from yaml.events import SequenceStartEvent

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.sources.entries import to_item
from cloud_tasks.sources.files.attempts import Attempts
from cloud_tasks.sources.files.yaml_text import YamlText
from cloud_tasks.sources.files.yaml_values import YamlValues
from cloud_tasks.task import Delivery

_WORD = r"-?[A-Za-z0-9_./+](?:[\w./+:-]*[\w./+-])?"
_TEXT = rf"{_WORD}(?: {_WORD})*"
_KEY = r"[A-Za-z_][\w./-]*:"
_LINE = rf" *(?:(?:- +)*{_KEY}(?: +{_TEXT})?|(?:- +)+{_TEXT})?\r?\n"
#: One entry, if another one of the list follows.
_ENTRY = re.compile(
    rf"(?P<margin> *)(?=- ){_LINE}(?:(?P=margin) {_LINE}|\r?\n)*?(?=(?P=margin)- )", re.ASCII
)
#: What stands before the text of a line, the text, of which there may be none, and the end.
_PARTS = re.compile(rf"( *(?:- +)*(?:{_KEY}(?: +|(?=\r?\n)))?)({_TEXT})?(\r?\n)", re.ASCII)

#: An entry of which so many characters are there is most likely complete.
_LIKELY_ENTRY = 16 * 1024
#: To find out a form takes as long as to parse so many entries.
_WORTHWHILE = 16
#: So many are remembered: most files have one or two.
_FORMS = 4


def plain_entry(text: str, at: int) -> str:
    """Return the entry of plain lines that begins at ``text[at]``; "": it is none.

    It is none, too, if it is the last one in *text*: who knows how it goes on.
    """
    match = _ENTRY.match(text, at)
    return match.group() if match else ""


class Form:
    """What entries have in common that differ in their texts alone.

    Args:
        parts: of the entry's lines: what stands before the text, the text or nothing, the end.
        value: what the parser made of the entry; its leaves are the texts, in their order.
        plain: gives the value of a text.

    Attributes:
        lines: of each entry.
        match: finds, at a place in a text, an entry of this form that another entry follows.
    """

    def __init__(
        self, parts: list[tuple[str, str, str]], value: Any, plain: Callable[[str], Any]
    ) -> None:
        self.lines = len(parts)
        self._value = value
        self._plain = plain
        margin = parts[0][0].partition("-")[0]
        lines = [
            re.escape(start) + (f"({_TEXT})" if text else "") + re.escape(end)
            for start, text, end in parts
        ]
        self.match = re.compile(f"{''.join(lines)}(?={margin}- )", re.ASCII).match

    @classmethod
    def of(cls, entry: str, value: Any, plain: Callable[[str], Any]) -> Form | None:
        """Return the form of a plain *entry*; None if its *value* is not made of its texts."""
        parts = _PARTS.findall(entry)
        values = [plain(text) for _, text, _ in parts if text]
        leaves = list(_leaves(value))
        same = values == leaves and [*map(type, values)] == [*map(type, leaves)]
        return cls(parts, value, plain) if same else None

    def filled(self, texts: Iterable[str]) -> Any:
        """Return the value of the entry with these *texts*."""
        return _filled(self._value, map(self._plain, texts))


class FormReader:
    """Reads entries that are like one another past the parser.

    Args:
        text: where they are.
        margin: what stands before the dash of each entry of the list.
        loader: the class of the parser, which is asked about the first one of a form.

    Attributes:
        at: how far in the text's buffer they were read; another entry begins there.
        lines: so many were read; 0: the parser may go on.
    """

    def __init__(self, text: YamlText, margin: str, loader: Any) -> None:
        self.at = 0
        self.lines = 0
        self._text = text
        self._beginning = margin + "- "
        self._loader = loader
        self._values = YamlValues(loader, lambda _, problem: TaskFormatError(problem))
        self._forms: list[Form] = []  # the one that fitted last comes first
        self._found = self._served = 0  # so many forms, that fitted so many entries
        self._attempts = Attempts()

    def due(self) -> bool:
        """Tell, for each entry that the parser has come to, whether to look for ones like it."""
        return self._attempts.due()

    def items(self, at: int) -> Iterator[Delivery]:
        """Yield what is made of the entries of plain lines at *at* and behind it.

        Stops before one that the parser has to look at; that may be the first.

        Args:
            at: a place in the text's buffer, where a line of an entry begins.
        """
        self.at, self.lines = at, 0
        # An entry may have its dash on a line of its own, and another list on the next one.
        if at < 0 or not self._text.buffer.startswith(self._beginning, at):
            return
        while form := self._form_here():
            while match := form.match(self._text.buffer, self.at):
                self._values.problem = ""
                item = to_item(form.filled(match.groups()), str)
                if self._values.problem or type(item) is not Delivery:
                    return
                self.at = match.end()
                self.lines += form.lines
                self._served += 1
                yield item
        if self.lines and self._is_worthwhile():
            self._attempts.succeeded()
        else:
            self._attempts.failed()
            self._found = self._served = 0

    def _is_worthwhile(self) -> bool:
        return self._served >= self._found * _WORTHWHILE

    def _form_here(self) -> Form | None:
        """Return a form that fits the entry at the current place, if one can be had."""
        while True:
            for form in self._forms:
                if form.match(self._text.buffer, self.at):
                    self._forms.remove(form)
                    self._forms.insert(0, form)
                    return form
            entry = plain_entry(self._text.buffer, self.at)
            if entry:
                return self._find_form(entry)
            if not self._reads_on():
                return None

    def _reads_on(self) -> bool:
        """Have more text where an entry may be cut off; False: that is not the reason."""
        text = self._text
        if not self.lines or text.ended or len(text.buffer) - self.at > _LIKELY_ENTRY:
            return False
        text.begin_at(self.at)
        text.read_on()
        self.at = text.origin
        return True

    def _find_form(self, entry: str) -> Form | None:
        """Have the parser read *entry*, a text of its own, and remember its form."""
        if not self._is_worthwhile():
            return None
        values = self._values
        values.problem = ""
        values.next_event = self._loader(entry).get_event
        try:
            while not isinstance(values.next_event(), SequenceStartEvent):
                pass
            value = values.value(values.next_event(), 1)
        except (yaml.YAMLError, TaskFormatError, RecursionError):
            return None
        form = None if values.problem else Form.of(entry, value, values.plain)
        if form is not None:
            self._found += 1
            self._forms[_FORMS - 1 :] = []
            self._forms.insert(0, form)
        return form


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    else:
        yield value


def _filled(value: Any, leaves: Iterator[Any]) -> Any:
    if type(value) is dict:
        return {key: _filled(inner, leaves) for key, inner in value.items()}
    if type(value) is list:
        return [_filled(inner, leaves) for inner in value]
    return next(leaves)
