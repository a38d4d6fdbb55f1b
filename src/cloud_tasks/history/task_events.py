"""Find the events of one task in a large log, without parsing those of the others.

The log is mapped into memory and searched for the task id as JSON writes it; only lines that hold
it are parsed. The task logs use the same search for their indexes.
"""

from __future__ import annotations

import contextlib
import json
import mmap
from collections.abc import Iterator
from pathlib import Path

from cloud_tasks.events.reading import TASK_EVENTS, Event, EventReader, worker_of
from cloud_tasks.timestamps import timestamp_or_none

#: Bytes at the end of a log in which the last line end is searched for, and bytes that
#: lines_with yields behind a line.
_BLOCK = 65536


def events_of(path: Path, task_id: str, start: int = 0) -> Iterator[Event]:
    """Yield the events of a task in the log at *path*, in order, from the byte *start* on.

    Blocks while it searches. Lines that are no events are left out.

    Raises:
        HistoryError: a compressed log can't be read.
    """
    for event in _candidates(path, task_id, start):
        kind = event.get("event_type")
        if isinstance(kind, str) and kind in TASK_EVENTS and event.get("task_id") == task_id:
            yield event


def _with_type(path: Path, kind: str, start: int) -> Iterator[Event]:
    """Yield the events of type *kind* in the log at *path*, from the byte *start* on."""
    for event in _candidates(path, kind, start):
        if event.get("event_type") == kind:
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


def lines_with(path: Path, text: str, start: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each line that holds *text* as a JSON string, from the byte *start* on.

    Each comes with the offset of its beginning and up to 64 KiB of what follows it. A file that
    can't be read has no lines. Blocks while it searches: about a second for a gigabyte.
    """
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (ValueError, OSError):  # an empty file, or one that can't be mapped, like a FIFO
            return
        with content:
            for at in _positions(content, json_forms(text), start):
                begin = content.rfind(b"\n", 0, at) + 1
                end = content.find(b"\n", at)
                end = len(content) if end < 0 else end + 1
                yield begin, content[begin:end], content[end : end + _BLOCK]


def json_forms(text: str) -> tuple[bytes, ...]:
    """Return *text* as JSON writes it: escaped to ASCII, and in UTF-8 where that differs."""
    forms = [json.dumps(text).encode("ascii")]
    try:
        plain = json.dumps(text, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can hold
        return tuple(forms)
    return tuple(dict.fromkeys([*forms, plain]))


def _positions(content: mmap.mmap, forms: tuple[bytes, ...], start: int) -> Iterator[int]:
    for form in forms:
        at = content.find(form, start)
        while at >= 0:
            yield at
            # The search goes on in the next line, because a line is one record.
            end = content.find(b"\n", at)
            if end < 0:
                break
            at = content.find(form, end)


class EndWatch:
    """A watch on a growing event log for the end of one task, or of the workers that may run it.

    *slot* is the one that runs it; None: any. Ends before *since*, in seconds since the epoch, are
    those of other attempts.
    """

    def __init__(self, path: Path, task_id: str, slot: int | None, since: float) -> None:
        self._path = path
        self._task_id = task_id
        self._slot = slot
        self._since = since
        self._size = 0
        self._checked = 0
        #: The workers that had begun by then and have not stopped; one of them runs the task.
        self._workers: set[str] = set()

    def has_come(self) -> bool:
        """Tell whether the end is in the log by now; reads only the part that is new."""
        try:
            size = self._path.stat().st_size
        except OSError:
            return False
        if size == self._size:
            return False
        if size < self._size:  # it was cut, or replaced by another one
            self._checked = 0
        if any(map(self._is_it, events_of(self._path, self._task_id, self._checked))):
            return True
        if self._are_gone():
            return True
        self._size = size
        self._checked = max(self._checked, _last_line_end(self._path, size))
        return False

    def _are_gone(self) -> bool:
        """Tell whether all workers that may have run the task have stopped since it began.

        A worker that was killed has told no end, and then this never becomes true.
        """
        before = bool(self._workers)
        for event in _with_type(self._path, "worker_started", self._checked):
            worker, when = worker_of(event), timestamp_or_none(event.get("timestamp"))
            if worker is not None and when is not None and when <= self._since:
                self._workers.add(worker)
                before = True
        for event in _with_type(self._path, "worker_stopped", self._checked):
            self._workers.discard(worker_of(event) or "")
        return before and not self._workers

    def _is_it(self, event: Event) -> bool:
        slot = event.get("slot")
        if self._slot is not None and type(slot) is int and slot != self._slot:
            return False
        when = _end(event)
        return when is not None and when >= self._since


def _end(event: Event) -> float | None:
    """Return when the function of the task ended, or else when the event was made."""
    # The event may be made later than the start of the next task in the same slot.
    started, run_time = timestamp_or_none(event.get("started")), event.get("run_time")
    if started is not None and isinstance(run_time, int | float):
        return started + run_time
    return timestamp_or_none(event.get("timestamp"))


def _last_line_end(path: Path, size: int) -> int:
    """Return the offset behind the last whole line; 0 if there is none near the end."""
    try:
        with path.open("rb") as file:
            start = max(0, size - _BLOCK)
            file.seek(start)
            end = file.read(size - start).rfind(b"\n")
    except OSError:
        return 0
    return 0 if end < 0 else start + end + 1
