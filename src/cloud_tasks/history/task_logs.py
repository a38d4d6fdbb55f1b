"""What tasks printed: found by the id of the task, in the files of the slots that ran them.

For each slot, ``slot-000.log`` holds the bytes as they came, of one task after the other, and
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

# The last entry of a line: what a crash cut off may stand before it.
_ENTRY = re.compile(
    rb'\[\s*(\d{1,18}),\s*("(?:[^"\\]|\\.)*"),\s*(null|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*\]\s*$'
)
_ID = re.compile(rb'^\[\s*\d+,\s*("(?:[^"\\\n]|\\.)*"),', re.MULTILINE)
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
        return any(True for _ in self._indexes())

    def tries(self, task_id: str) -> list[Try]:
        """Return all tries of a task, the first one first; the N-th of them is attempt N.

        Blocks while it searches the indexes: 0.1 s for a million tasks, or less.
        """
        found = [
            try_ for slot, index in self._indexes() for try_ in _tries_in(index, slot, task_id)
        ]
        return sorted(found, key=lambda try_: (try_.started or 0.0, try_.slot, try_.begin))

    def similar(self, task_id: str) -> str | None:
        """Return an id that is much like *task_id*; None: there is none, or too many to look at."""
        ids: set[str] = set()
        budget = _CHEAP
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


def _tries_in(index: Path, slot: int, task_id: str) -> Iterator[Try]:
    log = index.with_suffix(".log")
    for begin, line, after in lines_with(index, task_id):
        entry = _entry(line)
        if entry is None or entry[1] != task_id:
            continue
        offset, _, started = entry
        yield Try(slot, started, log, offset, _next_offset(after, offset), index, begin + len(line))


def _entry(line: bytes) -> tuple[int, str, float | None] | None:
    found = _ENTRY.search(line)
    if found is None:
        return None
    try:
        return int(found[1]), json.loads(found[2]), json.loads(found[3])
    except ValueError:
        return None


def _next_offset(lines: bytes, begin: int) -> int | None:
    """Return where the next task's output begins, by the *lines* after the entry of a task."""
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
