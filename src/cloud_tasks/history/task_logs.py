"""Find the output of a task by its id, in the log files of the slots.

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

#: Bytes of indexes that are searched for a similar id; larger ones are not searched.
_SIMILAR_BUDGET = 2**19
_CHUNK = 2**20
#: Bytes behind an entry in which the next entry is searched for.
_NEAR = 2**16


@dataclass(frozen=True, slots=True)
class LoggedAttempt:
    """One call of a task's function, as an index records it.

    Attributes:
        slot: that ran it.
        started: when, in seconds since the epoch; None: not recorded.
        log: the file that has its output; it may be missing.
        begin: offset of its output there, in bytes.
        end: offset behind its output; None: no other task had begun in that slot at the time of
            the search.
        next_line: offset in the index at which the next entry is or will be.
    """

    slot: int
    started: float | None
    log: Path
    begin: int
    end: int | None
    index: Path
    next_line: int

    def size(self) -> int:
        """Return the bytes that it has printed by now."""
        try:
            size = self.log.stat().st_size
        except OSError:
            return 0
        # In this order: the output of a task that begins after stat() lies behind that size.
        end = self.end if self.end is not None else self._next_begin()
        return max(0, (size if end is None else min(size, end)) - self.begin)

    def output(self, skip: int = 0) -> Iterator[bytes]:
        """Yield its output in pieces, without the first *skip* bytes.

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
        """True if there are any."""
        return any(True for _ in task_logs.find_slots(self._folder))

    def attempts(self, task_id: str) -> list[LoggedAttempt]:
        """Return all attempts at a task, the first one first.

        Blocks while it searches the indexes: 0.1 s for a million tasks, or less.
        """
        found = [
            attempt
            for slot, log, index in task_logs.find_slots(self._folder)
            for attempt in _attempts_in(slot, log, index, task_id)
        ]
        return sorted(found, key=lambda one: (one.started or 0.0, one.slot, one.begin))

    def similar(self, task_id: str) -> str | None:
        """Return an id that is similar to *task_id*; None: none, or too many to compare."""
        ids: set[str] = set()
        budget = _SIMILAR_BUDGET
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


def _attempts_in(slot: int, log: Path, index: Path, task_id: str) -> Iterator[LoggedAttempt]:
    for begin, line, after in lines_with(index, task_id):
        entry = task_logs.parse_entry(line)
        if entry is None or entry[1] != task_id:
            continue
        offset, _, started = entry
        end, next_line = _next_offset(after, offset), begin + len(line)
        yield LoggedAttempt(slot, started, log, offset, end, index, next_line)


def _next_offset(lines: bytes, begin: int) -> int | None:
    """Return the offset of the next task's output, from the *lines* after the entry of a task."""
    for line in lines.splitlines(keepends=True):
        entry = task_logs.parse_entry(line)
        if entry is not None:
            return max(begin, entry[0])
    return None
