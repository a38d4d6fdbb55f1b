"""Read an event log, of this package or of the older system, event by event.

    line ──► task_end, a regular expression ──► the four fields of a task's end
                │ no match
                └──► JSON parser ──► the whole event

Nothing in a log is fatal: lines that are not events are counted and skipped, and so is a last
line that was cut off. The pattern gives the same as the parser would: it matches only whole lines
of valid JSON in which each field that is read occurs once.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cloud_tasks.errors import HistoryError

Event = dict[str, Any]

#: Types of the events that end one attempt of a task.
TASK_EVENTS = frozenset(
    {"task_completed", "task_exception", "task_timed_out", "task_exited", "task_aborted"}
)
#: Characters of a worker's id that are kept; ours have 12.
_LONGEST_WORKER = 64
#: All known types; others are counted.
KNOWN = TASK_EVENTS | {
    "task_dead",
    "non_fatal_exception",
    "fatal_exception",
    "spot_termination",
    "keep_alive",
    "worker_started",
    "worker_stopped",
}


def worker_of(event: Mapping[str, Any]) -> str | None:
    """Return the worker that made *event*; None: it has no id, as in the older system.

    A worker is one run of a program. Its id is the first part of each of its ``event_id``.
    """
    event_id = event.get("event_id")
    if type(event_id) is not str:
        return None
    worker = event_id.rpartition("-")[0]
    return worker[:_LONGEST_WORKER] or None


class EventReader:
    """An iterator over the events of the log at *path*, which may be compressed (``.gz``).

    Args:
        shortcut: returns the fields of a line's event that the caller needs, or None to have the
            line parsed, as :func:`task_end` does.

    Attributes:
        lines: number of lines read.
        not_json: number of lines that are not JSON objects.
        torn: the last line was cut off.
        unknown: number of events of unknown types, by type.
        position: bytes read, of a file that is not compressed.
        size: bytes of the file when it was opened.

    Raises:
        HistoryError: the file can't be read.
    """

    def __init__(
        self, path: str | Path, *, shortcut: Callable[[bytes], Event | None] | None = None
    ) -> None:
        self._path = Path(path)
        self._shortcut = shortcut
        self.lines = 0
        self.not_json = 0
        self.torn = False
        self.unknown: dict[str, int] = {}
        self.position = 0
        self.size = 0

    def __iter__(self) -> Iterator[Event]:
        try:
            yield from self._events()
        except (OSError, EOFError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise HistoryError(
                f"the event log {str(self._path)!r} can't be read: {reason}"
            ) from error

    def _events(self) -> Iterator[Event]:
        loads, shortcut = json.loads, self._shortcut
        with self._open() as file:
            for line in file:
                self.position += len(line)
                if line.isspace():
                    continue
                self.lines += 1
                if shortcut is not None and (event := shortcut(line)) is not None:
                    if event.get("event_type") not in KNOWN:
                        self._count_unknown(event)
                    yield event
                    continue
                try:
                    event = loads(line)
                except (ValueError, RecursionError):
                    event = None
                if type(event) is not dict:
                    if line.endswith(b"\n"):
                        self.not_json += 1
                    else:
                        self.torn = True
                    continue
                self._count_unknown(event)
                yield event

    def _count_unknown(self, event: Event) -> None:
        kind = event.get("event_type")
        if type(kind) is str and kind in KNOWN:
            return
        name = kind if isinstance(kind, str) else "(none)"
        self.unknown[name] = self.unknown.get(name, 0) + 1

    def _open(self) -> Any:
        if self._path.suffix == ".gz":
            return gzip.open(self._path, "rb")
        file = self._path.open("rb", buffering=2**20)
        self.size = os.fstat(file.fileno()).st_size
        return file


#: Bytes; longer lines are left to the parser: matching a result of megabytes saves nothing.
_LONGEST = 16 * 1024

_TEXT = r'"[ !#-\[\]-~]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[ !#-\[\]-~]*)*"'
# At most 18 digits: Python refuses integers of thousands of digits.
_NUMBER = r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?"
_FLAT = rf"(?:{_TEXT}|{_NUMBER}|true|false|null)"
_LIST = rf"\[(?:{_FLAT}(?:, ?{_FLAT})*)?\]"
_MAPPING = rf"\{{(?:{_TEXT}: ?{_FLAT}(?:, ?{_TEXT}: ?{_FLAT})*)?\}}"
_OTHERS = (
    r'(?:, "(?!(?:event_type|task_id|retry|data_digest)")[a-z_]+": '
    rf"(?:{_FLAT}|{_LIST}|{_MAPPING}))*"
)
_PLAIN = r"[ !#-\[\]-~]*"  # a text without escapes

_END = re.compile(
    (
        rf'\{{"timestamp": "{_PLAIN}", "hostname": "{_PLAIN}", "event_type": "(task_[a-z_]+)", '
        rf'"task_id": "({_PLAIN})", "elapsed_time": {_NUMBER}, "retry": (true|false)'
        rf'{_OTHERS}(?:, "data_digest": "({_PLAIN})")?(?:, "lease_lost": true)?\}}\n?'
    ).encode()
)


def task_end(line: bytes) -> dict[str, Any] | None:
    """Return ``event_type``, ``task_id``, ``retry`` and ``data_digest`` of the event in *line*.

    None means that the line has an unusual form and has to be parsed. The other fields are left
    out; ``data_digest`` is None where the event has none.
    """
    if len(line) > _LONGEST:
        return None
    found = _END.fullmatch(line)
    if found is None:
        return None
    kind, task_id, retry, digest = found.groups()
    return {
        "event_type": kind.decode(),
        "task_id": task_id.decode(),
        "retry": retry == b"true",
        "data_digest": None if digest is None else digest.decode(),
    }
