"""The events of one task, found in a log without parsing those of the others."""

from __future__ import annotations

import contextlib
import json
import mmap
from collections.abc import Iterator
from pathlib import Path

from cloud_tasks.events.reading import TASK_EVENTS, Event, EventReader
from cloud_tasks.timestamps import timestamp_or_none

_TAIL = 65536


def events_of(path: Path, task_id: str, start: int = 0) -> Iterator[Event]:
    """Yield the events of a task in the log at *path*, in order, from the byte *start* on.

    Blocks while it searches. Lines that are no events are passed over.

    Raises:
        HistoryError: a compressed log can't be read.
    """
    for event in _candidates(path, task_id, start):
        kind = event.get("event_type")
        if isinstance(kind, str) and kind in TASK_EVENTS and event.get("task_id") == task_id:
            yield event


def _candidates(path: Path, task_id: str, start: int) -> Iterator[Event]:
    if path.suffix == ".gz":
        yield from EventReader(path)
        return
    for _, line, _ in lines_with(path, task_id, start):
        with contextlib.suppress(ValueError, RecursionError):
            event = json.loads(line)
            if isinstance(event, dict):
                yield event


class EndWatch:
    """Looks whether the event of a task's end has come.

    Args:
        path: of the event log.
        task_id: of the task.
        slot: that runs it; None: any.
        since: seconds since the epoch; ends before are those of other tries.
    """

    def __init__(self, path: Path, task_id: str, slot: int | None, since: float) -> None:
        self._path = path
        self._task_id = task_id
        self._slot = slot
        self._since = since
        self._size = 0
        self._checked = 0

    def has_come(self) -> bool:
        """Tell whether it is in the log by now; reads only what is new there."""
        try:
            size = self._path.stat().st_size
        except OSError:
            return False
        if size == self._size:
            return False
        if any(map(self._is_it, events_of(self._path, self._task_id, self._checked))):
            return True
        self._size = size
        self._checked = max(self._checked, _last_line_end(self._path, size))
        return False

    def _is_it(self, event: Event) -> bool:
        slot = event.get("slot")
        if self._slot is not None and type(slot) is int and slot != self._slot:
            return False
        when = _end(event)
        return when is not None and when >= self._since


def _end(event: Event) -> float | None:
    """Return when the function of the task ended, or else when the event was made."""
    # That may be later than the start of the next task in the same slot.
    started, run_time = timestamp_or_none(event.get("started")), event.get("run_time")
    if started is not None and isinstance(run_time, int | float):
        return started + run_time
    return timestamp_or_none(event.get("timestamp"))


def _last_line_end(path: Path, size: int) -> int:
    """Return where the last whole line ends; 0 where that isn't seen near the end."""
    try:
        with path.open("rb") as file:
            start = max(0, size - _TAIL)
            file.seek(start)
            end = file.read(size - start).rfind(b"\n")
    except OSError:
        return 0
    return 0 if end < 0 else start + end + 1


# MERGED: Finding the few lines of a large file that hold a JSON string, without parsing the
# MERGED: others.


def needles(text: str) -> tuple[bytes, ...]:
    """Return *text* as JSON writes it: in ASCII, and as it is where that differs."""
    forms = [json.dumps(text).encode("ascii")]
    try:
        plain = json.dumps(text, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a pair, which only an escape can tell
        return tuple(forms)
    return tuple(dict.fromkeys([*forms, plain]))


def lines_with(path: Path, text: str, start: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each line that holds *text* as a JSON string, from the byte *start* on.

    With each line, where it begins, and all that follows it up to 64 KiB. A file that can't be
    read has no lines. Blocks while it searches: about a second for a gigabyte.
    """
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError):  # it is empty, or nothing that has bytes to be looked at
            return
        with content:
            for at in _positions(content, needles(text), start):
                begin = content.rfind(b"\n", 0, at) + 1
                end = content.find(b"\n", at)
                end = len(content) if end < 0 else end + 1
                yield begin, content[begin:end], content[end : end + 65536]


def _positions(content: mmap.mmap, forms: tuple[bytes, ...], start: int) -> Iterator[int]:
    for form in forms:
        at = content.find(form, start)
        while at >= 0:
            yield at
            # On to the next line: one line tells of one thing.
            end = content.find(b"\n", at)
            if end < 0:
                break
            at = content.find(form, end)
