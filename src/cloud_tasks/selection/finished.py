"""What an event log tells of tasks that need not be run again, in little memory.

A task is known by its id and the digest of its data. Where an event has no digest, as those of
the older system and of data that has no canonical text, the id has to do.
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
from cloud_tasks.events.reading import Event, EventReader, task_end
from cloud_tasks.events.records import data_digest
from cloud_tasks.selection.resume import PreviousResult
from cloud_tasks.task import Task

#: Ends that are failures, unless the task went back for another try.
_FAILURES = ("task_exception", "task_timed_out", "task_exited", "task_dead")
#: Buckets of a bag, a power of two: a million keys are sorted a few hundred at a time.
_BUCKETS = 4096
_MASK = _BUCKETS - 1
#: Ids of tasks with changed data that are remembered, to name some; and those that are named.
_REMEMBERED, _NAMED = 100, 3
#: Events between two looks whether somebody wants it to end.
_LOOK = 4096
#: How every event of ours begins.
_BEGINNING = b'{"timestamp"'


def _digested(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


#: Makes a key of 64 bits: of two million texts, two have the same once in ten million logs. It
#: need not be the same in another process, so Python's own will do where it is good enough.
_key: Callable[[str], int] = (
    hash
    if sys.hash_info.width >= 64 and sys.hash_info.algorithm.startswith("siphash")
    else _digested
)


class KeyBag:
    """Counts keys of 64 bits, in 12 bytes for each different one.

    First all are put in, then, after ``settle``, they are taken out.

    Attributes:
        size: how many were put in, after ``settle``.
    """

    def __init__(self) -> None:
        self._new: list[array[int]] = [array("q") for _ in range(_BUCKETS)]
        #: Bucket after bucket, each sorted, and where each begins; at the end, where the last ends.
        self._keys = array("q")
        self._begins: list[int] = []
        self._counts = array("I")
        self.size = 0

    def put(self, key: int) -> None:
        """Put *key* in."""
        self._new[key & _MASK].append(key)

    def settle(self) -> None:
        """Make ready to be asked; nothing is put in after this."""
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

    def __contains__(self, key: int) -> bool:
        """True if *key* was ever put in."""
        bucket = key & _MASK
        end = self._begins[bucket + 1]
        at = bisect_left(self._keys, key, self._begins[bucket], end)
        return at < end and self._keys[at] == key

    def take(self, key: int) -> bool:
        """Take *key* out once; False: it is not there, or not any more."""
        bucket = key & _MASK
        end = self._begins[bucket + 1]
        at = bisect_left(self._keys, key, self._begins[bucket], end)
        if at == end or self._keys[at] != key or not self._counts[at]:
            return False
        self._counts[at] -= 1
        return True


class FinishedTasks:
    """The ends of tasks that the event log at *path* tells of.

    Each end is that of one task: of equal tasks, so many are found as have ended. A task that is
    told as done and as failed counts as done.

    Attributes:
        path: of the log.
        done: ends of tasks that were done.
        failed: ends of tasks that failed.
        spoilt: lines of the log that are no events.
        missing: there is no log.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.done = 0
        self.failed = 0
        self.spoilt = 0
        self.missing = False
        self._done, self._failed, self._ids = KeyBag(), KeyBag(), KeyBag()
        # Known by their ids only.
        self._done_ids, self._failed_ids = KeyBag(), KeyBag()
        #: Tasks that were found by their data, and those whose data may have changed: by their ids.
        self._matched = array("q")
        self._suspects = array("q")
        self._suspect_names: list[str] = []

    # -- reading the log

    def read(self, stopped: Callable[[], bool]) -> None:
        """Read the log; blocks until that is done, or *stopped*. A log that is missing is empty.

        Raises:
            HistoryError: it can't be read, or is no event log.
        """
        self.missing = not self._is_there()
        if not self.missing:
            self._read(stopped)
        for bag in (self._done, self._failed, self._ids, self._done_ids, self._failed_ids):
            bag.settle()
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
            raise self._refused("is no file, so it can't be resumed from")
        if self.path.suffix == ".gz":
            raise self._refused("is compressed, so nothing can be added to it")
        return True

    def _read(self, stopped: Callable[[], bool]) -> None:
        reader = EventReader(self.path, shortcut=task_end)
        take_in = self._take_in
        until_look = _LOOK
        for event in reader:
            take_in(event)
            until_look -= 1
            if not until_look:
                if stopped():
                    return
                until_look = _LOOK
        self.spoilt = reader.not_json + sum(reader.unknown.values())
        events = reader.lines - reader.torn - self.spoilt
        if reader.lines and not events and not self._may_be_ours(reader):
            raise self._refused("has no event in it, so it is no event log to resume from")

    def _may_be_ours(self, reader: EventReader) -> bool:
        """True if a crash may have cut off the very first event."""
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

    def _take_in(self, event: Event) -> None:
        kind = event.get("event_type")
        done = kind == "task_completed"
        if not done and kind not in _FAILURES:
            return
        # A task that was put back has not ended. One that was given up has, without that field.
        if event.get("retry", kind != "task_dead") not in (False,):
            return
        task_id = _text_of(event.get("task_id"))
        if task_id is None:
            return
        digest = event.get("data_digest")
        if type(digest) is str:
            (self._done if done else self._failed).put(_key(f"{task_id}\0{digest}"))
            self._ids.put(_key(task_id))
        else:
            (self._done_ids if done else self._failed_ids).put(_key(task_id))

    # -- comparing

    def find(self, task: Task) -> PreviousResult:
        """Say what is known of *task*, the next one of the source; see :class:`Record`."""
        own = _key(task.task_id)
        digest = data_digest(task.data) if self._ids.size else None
        key = None if digest is None else _key(f"{task.task_id}\0{digest}")
        if key is not None and self._done.take(key):
            self._matched.append(own)
            return PreviousResult.DONE
        if self._done_ids.size and self._done_ids.take(own):
            return PreviousResult.DONE
        if key is not None and self._failed.size and self._failed.take(key):
            self._matched.append(own)
            return PreviousResult.FAILED
        if self._failed_ids.size and self._failed_ids.take(own):
            return PreviousResult.FAILED
        return self._suspected(task.task_id, own, key)

    def _suspected(self, task_id: str, own: int, key: int | None) -> PreviousResult:
        if own not in self._ids:
            return PreviousResult.NEW
        if key is not None and (key in self._done or key in self._failed):
            return PreviousResult.NEW  # equal tasks have ended, though not so many
        self._suspects.append(own)
        if len(self._suspect_names) < _REMEMBERED:
            self._suspect_names.append(task_id)
        return PreviousResult.OTHER_DATA

    def changed(self) -> tuple[int, tuple[str, ...]]:
        """Count the tasks that had other data when they ran; see :class:`Record`."""
        for own in self._matched if self._suspects else ():
            self._ids.take(own)
        changed = [self._ids.take(own) for own in self._suspects]
        names = [name for name, is_so in zip(self._suspect_names, changed, strict=False) if is_so]
        return sum(changed), tuple(names[:_NAMED])


def _text_of(task_id: Any) -> str | None:
    """Return *task_id* as sources make it."""
    if type(task_id) is int:
        return str(task_id)
    return task_id if type(task_id) is str else None
