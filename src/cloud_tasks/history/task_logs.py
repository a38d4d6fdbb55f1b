"""Find the output of a task by its id, in the files of the slots that ran it.

executors/common/task_logs.py describes the files and parses their indexes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud_tasks.errors import HistoryError
from cloud_tasks.executors.common import task_logs
from cloud_tasks.history.task_events import lines_with

#: Bytes of indexes that are looked through for a name that is nearly the wanted one.
_CHEAP = 2**19
_CHUNK = 2**20
#: Bytes in which the next entry of an index is looked for.
_NEAR = 2**16


@dataclass(frozen=True, slots=True)
class Try:
    """One call of a task's function, as an index tells of it.

    Attributes:
        slot: that ran it.
        started: when, in seconds since the epoch; None: not told.
        log: the file that has its output; it may be missing.
        begin: of its output there, in bytes.
        end: of its output; None: no other task had begun in that slot when it was looked for.
        index: the index, and
        next_line: where in it the next entry will be or is.
    """

    slot: int
    started: float | None
    log: Path
    begin: int
    end: int | None
    index: Path
    next_line: int

    def size(self) -> int:
        """Return how many bytes it has printed by now."""
        try:
            size = self.log.stat().st_size
        except OSError:
            return 0
        # In this order: a task that begins after the look at the size prints behind it.
        end = self.end if self.end is not None else self._next_begin()
        return max(0, (size if end is None else min(size, end)) - self.begin)

    def output(self, skip: int = 0) -> Iterator[bytes]:
        """Yield what it printed, in pieces, but for the first *skip* bytes.

        Raises:
            HistoryError: the log can't be read.
        """
        left = self.size() - skip
        at = self.begin + skip
        while left > 0:
            piece = self._read(at, min(left, _CHUNK))
            if not piece:
                return
            at += len(piece)
            left -= len(piece)
            yield piece

    def _read(self, at: int, size: int) -> bytes:
        try:
            with self.log.open("rb") as file:
                file.seek(at)
                return file.read(size)
        except OSError as error:
            raise HistoryError(
                f"the task log {str(self.log)!r} can't be read: {error.strerror or error}"
            ) from error

    def is_closed(self) -> bool:
        """Tell whether another task has begun in its slot by now."""
        return self.end is not None or self._next_begin() is not None

    def _next_begin(self) -> int | None:
        try:
            with self.index.open("rb") as file:
                file.seek(self.next_line)
                return _next_offset(file.read(_NEAR), self.begin)
        except OSError:
            return None


class TaskLogs:
    """The task logs in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def exist(self) -> bool:
        """There are any."""
        return any(True for _ in task_logs.find_slots(self._folder))

    def tries(self, task_id: str) -> list[Try]:
        """Return all tries of a task, the first one first; the N-th of them is attempt N.

        Blocks while it searches the indexes: 0.1 s for a million tasks, or less.
        """
        found = [
            try_
            for slot, log, index in task_logs.find_slots(self._folder)
            for try_ in _tries_in(slot, log, index, task_id)
        ]
        return sorted(found, key=lambda try_: (try_.started or 0.0, try_.slot, try_.begin))

    def similar(self, task_id: str) -> str | None:
        """Return an id that is much like *task_id*; None: there is none, or too many to look at."""
        ids: set[str] = set()
        budget = _CHEAP
        for _, _, index in task_logs.find_slots(self._folder):
            try:
                budget -= index.stat().st_size
                if budget < 0:
                    return None
                ids.update(task_logs.task_ids(index.read_bytes()))
            except OSError:
                continue
        near = difflib.get_close_matches(task_id[:200], ids, n=1, cutoff=0.75)
        return near[0] if near else None


def _tries_in(slot: int, log: Path, index: Path, task_id: str) -> Iterator[Try]:
    for begin, line, after in lines_with(index, task_id):
        entry = task_logs.parse_entry(line)
        if entry is None or entry[1] != task_id:
            continue
        offset, _, started = entry
        yield Try(slot, started, log, offset, _next_offset(after, offset), index, begin + len(line))


def _next_offset(lines: bytes, begin: int) -> int | None:
    """Return where the next task's output begins, by the *lines* after the entry of a task."""
    for line in lines.splitlines(keepends=True):
        entry = task_logs.parse_entry(line)
        if entry is not None:
            return max(begin, entry[0])
    return None
