"""Find the output of a task by its id, in the log files of the slots.

For each slot, ``slot-000.log`` holds the output of its tasks, one after the other, and
``slot-000.idx`` a line ``[offset, "task_id", seconds since the epoch]`` for each call of a task's
function. A task's output goes from its offset to the next one's, or to the end. Several runs may
have appended to the same files, and a crash may have torn any line of an index.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cloud_tasks.errors import HistoryError
from cloud_tasks.history.task_events import lines_with

# The last entry of a line: part of an entry that a crash cut off may stand before it.
_ENTRY = re.compile(
    rb'\[\s*(\d{1,18}),\s*("(?:[^"\\]|\\.)*"),\s*(null|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*\]\s*$'
)
_ID = re.compile(rb'^\[\s*\d+,\s*("(?:[^"\\\n]|\\.)*"),', re.MULTILINE)
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
        index: the index.
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
        return any(True for _ in self._indexes())

    def attempts(self, task_id: str) -> list[LoggedAttempt]:
        """Return all attempts at a task, the first one first.

        Blocks while it searches the indexes: 0.1 s for a million tasks, or less.
        """
        found = [
            attempt
            for slot, index in self._indexes()
            for attempt in _attempts_in(index, slot, task_id)
        ]
        return sorted(found, key=lambda one: (one.started or 0.0, one.slot, one.begin))

    def similar(self, task_id: str) -> str | None:
        """Return an id that is similar to *task_id*; None: none, or too many to compare."""
        ids: set[str] = set()
        budget = _SIMILAR_BUDGET
        for _, index in self._indexes():
            try:
                budget -= index.stat().st_size
                if budget < 0:
                    return None
                ids.update(_ids_in(index.read_bytes()))
            except OSError:
                continue
        near = difflib.get_close_matches(task_id[:200], ids, n=1, cutoff=0.75)
        return near[0] if near else None

    def _indexes(self) -> Iterator[tuple[int, Path]]:
        for path in sorted(self._folder.glob("slot-*.idx")):
            number = path.stem.removeprefix("slot-")
            if number.isascii() and number.isdecimal():
                yield int(number), path


def _attempts_in(index: Path, slot: int, task_id: str) -> Iterator[LoggedAttempt]:
    log = index.with_suffix(".log")
    for begin, line, after in lines_with(index, task_id):
        entry = _entry(line)
        if entry is None or entry[1] != task_id:
            continue
        offset, _, started = entry
        end, next_line = _next_offset(after, offset), begin + len(line)
        yield LoggedAttempt(slot, started, log, offset, end, index, next_line)


def _entry(line: bytes) -> tuple[int, str, float | None] | None:
    found = _ENTRY.search(line)
    if found is None:
        return None
    try:
        return int(found[1]), json.loads(found[2]), json.loads(found[3])
    except ValueError:
        return None


def _next_offset(lines: bytes, begin: int) -> int | None:
    """Return the offset of the next task's output, from the *lines* after the entry of a task."""
    for line in lines.splitlines(keepends=True):
        entry = _entry(line)
        if entry is not None:
            return max(begin, entry[0])
    return None


def _ids_in(index: bytes) -> Iterator[str]:
    for text in _ID.findall(index):
        try:
            yield json.loads(text)
        except ValueError:
            continue
