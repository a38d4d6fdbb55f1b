"""From messages of an event queue to lines for a file, each event once."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Event ids that are remembered, to know a repeat. A repeat comes within a lease or two.
REMEMBERED = 100_000
#: How much of the end of a file is read for them, in bytes.
_TAIL = 64 * 2**20


@dataclass(slots=True)
class Seen:
    """What came so far.

    Attributes:
        types: events by their type, repeats left out.
        repeats: events that had come before.
        malformed: messages that hold no event.
    """

    types: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    malformed: int = 0
    _ids: OrderedDict[str, None] = field(default_factory=OrderedDict, repr=False)

    def remember(self, path: Path) -> None:
        """Take note of the events at the end of the file at *path*, if there is one."""
        for event, _ in _events_at_end(path):
            self._is_new(event)

    def lines(self, body: bytes) -> list[bytes]:
        """Return the new events of one message, a line each.

        Raises:
            ValueError: it holds none.
        """
        events = list(_events(body))
        new = []
        for event, line in events:
            if self._is_new(event):
                self.types[str(event.get("event_type"))] += 1
                new.append(line)
            else:
                self.repeats += 1
        return new

    def _is_new(self, event: dict[str, Any]) -> bool:
        event_id = event.get("event_id")
        if not isinstance(event_id, str):  # of a foreign worker: nothing tells
            return True
        new = event_id not in self._ids
        self._ids[event_id] = None
        self._ids.move_to_end(event_id)
        if len(self._ids) > REMEMBERED:
            self._ids.popitem(last=False)
        return new


def _events(body: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield each event of *body* with its line: it is one, or has one a line."""
    try:
        yield _event(body)
    except ValueError:
        lines = body.split(b"\n")
        if len(lines) == 1:
            raise
        for line in lines:
            if line.strip():
                yield _event(line)


def _event(text: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        event = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(event, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - it is the content that is wrong
    line = text.strip()
    if b"\n" in line or b"\r" in line:
        line = json.dumps(event).encode()
    return event, line


def _events_at_end(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = max(0, path.stat().st_size - _TAIL)
        file.seek(start)
        if start:
            file.readline()
        for line in file:
            try:
                yield _event(line)
            except ValueError:
                continue
