"""Find in an event log the tasks that need not be run again, in 12 bytes a task.

    event ──► key of (task id, data digest), 64 bits ──► KeyBag: done, failed, ids
    task  ──► the same key ──► taken out of a bag once ──► PreviousResult

A task is identified by its id and the digest of its data. Where an event has no digest, as in
logs of the older system and for data that JSON can't express, by its id alone. Everything is
called in one thread.
"""

from __future__ import annotations

import hashlib
import stat
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from cloud_tasks.errors import HistoryError
from cloud_tasks.events.causes import is_failure
from cloud_tasks.events.reading import Event, EventReader, task_end
from cloud_tasks.events.records import data_digest
from cloud_tasks.selection.resume import PreviousResult
from cloud_tasks.task import Task

#: Buckets of a bag, a power of two: of a million keys a few hundred are sorted at a time.
_BUCKETS = 4096
_MASK = _BUCKETS - 1
#: Ids that are kept of tasks whose data may have changed, and that are named of those.
_REMEMBERED, _NAMED = 100, 3
#: Events between two checks whether the run was stopped.
_STEP = 4096
#: The beginning of every event of this package.
_BEGINNING = b'{"timestamp"'


def _digested(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


#: Returns a key of 64 bits: of two million texts, two share one in one of ten million logs. Other
#: processes never see it, so Python's own hash serves where it is a good one.
_key: Callable[[str], int] = (
    hash
    if sys.hash_info.width >= 64 and sys.hash_info.algorithm.startswith("siphash")
    else _digested
)


class KeyBag:
    """A multiset of keys of 64 bits, in 12 bytes for each distinct one.

    All keys are added, then ``sort`` is called, then keys are looked up and removed.

    Attributes:
        size: number of keys that were added; set by ``sort``.
    """

    def __init__(self) -> None:
        self._new: list[array[int]] = [array("q") for _ in range(_BUCKETS)]
        # Bucket after bucket, each sorted; the offset of each bucket, and the end of the last.
        self._keys = array("q")
        self._begins: list[int] = []
        self._counts = array("I")
        self.size = 0

    def add(self, key: int) -> None:
        """Add *key*; before ``sort``."""
        self._new[key & _MASK].append(key)

    def sort(self) -> None:
        """Sort all keys; none may be added after this."""
        for index, bucket in enumerate(self._new):
            self._new[index] = array("q")
            self._begins.append(len(self._keys))
            self.size += len(bucket)
            keys = sorted(bucket)
            if len(set(keys)) == len(keys):
                self._keys.extend(keys)
                self._counts.extend([1] * len(keys))
                continue
            for key, equal in groupby(keys):
                self._keys.append(key)
                self._counts.append(sum(1 for _ in equal))
        self._begins.append(len(self._keys))
        self._new = []

    def _find(self, key: int) -> int | None:
        bucket = key & _MASK
        end = self._begins[bucket + 1]
        at = bisect_left(self._keys, key, self._begins[bucket], end)
        return at if at < end and self._keys[at] == key else None

    def __contains__(self, key: int) -> bool:
        """Return True if *key* was ever added."""
        return self._find(key) is not None

    def remove(self, key: int) -> bool:
        """Remove *key* once; return False if it is not there, or not any more."""
        at = self._find(key)
        if at is None or not self._counts[at]:
            return False
        self._counts[at] -= 1
        return True


class FinishedTasks:
    """The ends of tasks in the event log at *path*; see ``selection.resume.PreviousResults``.

    Each end belongs to one task: of equal tasks, as many are found as have ended. A task that is
    recorded both as done and as failed counts as done.

    Attributes:
        done: number of ends of tasks that were done.
        failed: number of ends of tasks that failed.
        bad_lines: number of lines of the log that are not events.
        missing: there is no log.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.done = 0
        self.failed = 0
        self.bad_lines = 0
        self.missing = False
        self._done, self._failed, self._ids = KeyBag(), KeyBag(), KeyBag()
        # Of events without a digest.
        self._done_ids, self._failed_ids = KeyBag(), KeyBag()
        # Keys of the ids of tasks found by their data, and of those whose data may have changed.
        self._matched = array("q")
        self._suspects = array("q")
        self._suspect_names: list[str] = []

    # -- reading the log

    def read(self, stopped: Callable[[], bool]) -> None:
        """Read the log; blocks until that is done, or *stopped*. A missing log counts as empty.

        Raises:
            HistoryError: it can't be read, or is not an event log.
        """
        self.missing = not self._is_there()
        if not self.missing:
            self._read(stopped)
        for bag in (self._done, self._failed, self._ids, self._done_ids, self._failed_ids):
            bag.sort()
        self.done = self._done.size + self._done_ids.size
        self.failed = self._failed.size + self._failed_ids.size

    def _is_there(self) -> bool:
        try:
            regular = stat.S_ISREG(self.path.stat().st_mode)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._refused(f"can't be read: {error.strerror or error}") from error
        if not regular:
            raise self._refused("is not a file, so it can't be resumed from")
        if self.path.suffix == ".gz":
            raise self._refused("is compressed, so nothing can be added to it")
        return True

    def _read(self, stopped: Callable[[], bool]) -> None:
        reader = EventReader(self.path, shortcut=task_end)
        add = self._add
        until_check = _STEP
        for event in reader:
            add(event)
            until_check -= 1
            if not until_check:
                if stopped():
                    return
                until_check = _STEP
        self.bad_lines = reader.not_json + sum(reader.unknown.values())
        events = reader.lines - reader.torn - self.bad_lines
        if reader.lines and not events and not self._is_torn_beginning(reader):
            raise self._refused("has no event in it, so it is not an event log to resume from")

    def _is_torn_beginning(self, reader: EventReader) -> bool:
        """Return True if a crash may have cut off the very first event."""
        if reader.lines > 1 or not reader.torn:
            return False
        with self.path.open("rb") as file:
            head = file.read(len(_BEGINNING))
        return _BEGINNING.startswith(head)

    def _refused(self, problem: str) -> HistoryError:
        return HistoryError(
            f"the event log {str(self.path)!r} {problem}: name the log of the run to go on with "
            "(--run-dir or --event-log-file), or leave out --resume"
        )

    def _add(self, event: Event) -> None:
        kind = event.get("event_type")
        done = kind == "task_completed"
        if not done and not is_failure(event):
            return
        # A task that is to be run again has not ended. One that was given up has, and its event
        # lacks the field.
        if event.get("retry", kind != "task_dead") not in (False,):
            return
        task_id = _text_of(event.get("task_id"))
        if task_id is None:
            return
        digest = event.get("data_digest")
        if type(digest) is str:
            (self._done if done else self._failed).add(_key(f"{task_id}\0{digest}"))
            self._ids.add(_key(task_id))
        else:
            (self._done_ids if done else self._failed_ids).add(_key(task_id))

    # -- comparing

    def find(self, task: Task) -> PreviousResult:
        """Return the previous result of *task*, the next one of the source."""
        own = _key(task.task_id)
        digest = data_digest(task.data) if self._ids.size else None
        key = None if digest is None else _key(f"{task.task_id}\0{digest}")
        if key is not None and self._done.remove(key):
            self._matched.append(own)
            return PreviousResult.DONE
        if self._done_ids.size and self._done_ids.remove(own):
            return PreviousResult.DONE
        if key is not None and self._failed.size and self._failed.remove(key):
            self._matched.append(own)
            return PreviousResult.FAILED
        if self._failed_ids.size and self._failed_ids.remove(own):
            return PreviousResult.FAILED
        return self._suspected(task.task_id, own, key)

    def _suspected(self, task_id: str, own: int, key: int | None) -> PreviousResult:
        if own not in self._ids:
            return PreviousResult.NEW
        if key is not None and (key in self._done or key in self._failed):
            return PreviousResult.NEW  # one of several equal tasks, of which fewer have ended
        self._suspects.append(own)
        if len(self._suspect_names) < _REMEMBERED:
            self._suspect_names.append(task_id)
        return PreviousResult.OTHER_DATA

    def changed(self) -> tuple[int, tuple[str, ...]]:
        """Return how many tasks had other data when they ran, and the ids of a few."""
        for own in self._matched if self._suspects else ():
            self._ids.remove(own)
        changed = [self._ids.remove(own) for own in self._suspects]
        names = [name for name, is_so in zip(self._suspect_names, changed, strict=False) if is_so]
        return sum(changed), tuple(names[:_NAMED])


def _text_of(task_id: Any) -> str | None:
    """Return *task_id* as a string, as sources do; None if it is not an id."""
    if type(task_id) is int:
        return str(task_id)
    return task_id if type(task_id) is str else None
