"""Which tasks of a run failed in the end, and what their failures have in common.

A task's last event counts: whoever failed and was done by a later try has not failed. Memory
grows with the tasks that are not done by then (about half a kilobyte each, measured), never
with those that are.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from cloud_tasks.errors import ConfigurationError, HistoryError, SourceError
from cloud_tasks.events.causes import FailureCause, cause_of_event, is_failure
from cloud_tasks.events.reading import TASK_EVENTS
from cloud_tasks.events.records import data_digest, date_as_text
from cloud_tasks.sources.local import make_source
from cloud_tasks.system.append_file import draft_beside

#: Of each group.
EXAMPLES = 5


class TaskKey(NamedTuple):
    """What tells a task from all others: ids may be repeated, with other data.

    Attributes:
        task_id: its id.
        digest: ``data_digest`` of its data; None where the log has none, as in the older system.
    """

    task_id: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class FailedGroup:
    """Tasks that failed for the same cause.

    Attributes:
        number: its place in the list, from 1.
        cause: what they have in common.
        count: how many tasks.
        first, last: when, in the words of the log; None: it doesn't tell.
        examples: ids of the first few.
    """

    number: int
    cause: FailureCause
    count: int
    first: str | None
    last: str | None
    examples: tuple[str, ...]


class FailedTasks:
    """Takes the events of a run in their order, and then knows what is not done.

    Attributes:
        nameless: task events that were left out, since they don't say which task.
    """

    def __init__(self) -> None:
        self.nameless = 0
        #: In the order of their last failures.
        self._failed: dict[TaskKey, tuple[FailureCause, str | None]] = {}
        self._again: dict[TaskKey, FailureCause] = {}
        #: One of each, since many tasks share them.
        self._causes: dict[FailureCause, FailureCause] = {}

    def read(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take all of *events*."""
        for event in events:
            self.add(event)

    def add(self, event: Mapping[str, Any]) -> None:
        """Take the next event; one that tells of no task changes nothing."""
        kind = event.get("event_type")
        if not isinstance(kind, str) or (kind not in TASK_EVENTS and kind != "task_dead"):
            return
        key = _key(event)
        if key is None:
            self.nameless += 1
        elif kind == "task_dead" and key in self._failed:
            pass  # it was told before why
        elif is_failure(event):
            self._forget(key)
            cause = cause_of_event(event)
            self._failed[key] = (self._causes.setdefault(cause, cause), _when(event))
        else:
            self._forget(key)
            if kind != "task_completed" or event.get("retry"):
                cause = cause_of_event(event)
                self._again[key] = self._causes.setdefault(cause, cause)

    def _forget(self, key: TaskKey) -> None:
        for known in (key, TaskKey(key.task_id, None)):
            if known in self._failed:
                del self._failed[known]
            if known in self._again:
                del self._again[known]

    @property
    def count(self) -> int:
        """How many tasks failed."""
        return len(self._failed)

    def to_run_again(self) -> dict[str, int]:
        """Return how many tasks are not done and did not fail, by the cause, most frequent first.

        They were ended from outside, or asked for another try.
        """
        counts: dict[str, int] = {}
        for cause in self._again.values():
            counts[cause.text] = counts.get(cause.text, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def groups(self) -> list[FailedGroup]:
        """Return the failed tasks by their cause, the most frequent first."""
        found: dict[FailureCause, _Gathered] = {}
        for key, (cause, when) in self._failed.items():
            gathered = found.get(cause)
            if gathered is None:
                gathered = found[cause] = _Gathered(when, [])
            gathered.add(key.task_id, when)
        ranked = sorted(found.items(), key=lambda item: -item[1].count)
        return [
            FailedGroup(number, cause, g.count, g.first, g.last, tuple(g.examples))
            for number, (cause, g) in enumerate(ranked, 1)
        ]

    def of(self, groups: Iterable[FailedGroup]) -> Iterator[tuple[TaskKey, FailureCause]]:
        """Yield the failed tasks of *groups*, in the order in which they failed."""
        causes = {group.cause for group in groups}
        for key, (cause, _) in self._failed.items():
            if cause in causes:
                yield key, cause


@dataclass(slots=True)
class _Gathered:
    first: str | None
    examples: list[str]
    last: str | None = None
    count: int = 0

    def add(self, task_id: str, when: str | None) -> None:
        self.count += 1
        self.last = when
        if len(self.examples) < EXAMPLES and task_id not in self.examples:
            self.examples.append(task_id)


def _key(event: Mapping[str, Any]) -> TaskKey | None:
    task_id, digest = event.get("task_id"), event.get("data_digest")
    if type(task_id) is int:
        task_id = str(task_id)
    if not isinstance(task_id, str):
        return None
    return TaskKey(task_id, digest if isinstance(digest, str) else None)


def _when(event: Mapping[str, Any]) -> str | None:
    when = event.get("timestamp")
    return when if isinstance(when, str) else None


# MERGED: Finding the data of failed tasks again, which events don't carry, and writing a task
# MERGED: file.
# MERGED:
# MERGED: They are in the run's own list of failures, if it has a run directory, or else in the
# MERGED: task file
# MERGED: that the run was given.

T = TypeVar("T")
_BATCH = 1000


@dataclass(slots=True)
class Found:
    """What became of the search.

    Attributes:
        written: entries that were written.
        other_data: tasks whose id was found with other data only.
        unwritable: tasks whose data JSON can't hold.
        missing: tasks that were found nowhere.
        problems: what couldn't be read, in sentences.
    """

    written: int = 0
    other_data: int = 0
    unwritable: int = 0
    missing: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """How many tasks are not in what was written."""
        return self.other_data + self.unwritable + self.missing


def write_task_file(
    path: Path,
    wanted: Mapping[TaskKey, str],
    *,
    failures: Path | None,
    task_files: Mapping[str, str | None],
) -> Found:
    """Write the tasks *wanted* to *path*, each with its cause; all of it or nothing.

    Args:
        path: of the file, JSON Lines; what was there is replaced.
        wanted: the cause of each.
        failures: the run's own list of failures.
        task_files: where else to look, in this order, each with its format where its name doesn't
            tell.

    Raises:
        HistoryError: the file can't be written.
    """
    path = Path(os.path.realpath(path))
    try:
        with draft_beside(path) as draft:
            with draft.open("x", encoding="ascii") as output:
                found = _Search(wanted, output).run(failures, task_files)
                output.flush()
                os.fsync(output.fileno())
            if found.written or not wanted:
                draft.replace(path)
    except OSError as error:
        raise HistoryError(f"{str(path)!r} can't be written: {error.strerror or error}") from error
    return found


class _Search:
    """One search, which writes what it finds."""

    def __init__(self, wanted: Mapping[TaskKey, str], output: IO[str]) -> None:
        self._wanted = wanted
        self._output = output
        self._left = set(wanted)
        #: Of entries that are not wanted.
        self._seen_ids: set[str] = set()
        self._unwritable: set[TaskKey] = set()
        self._found = Found()

    def run(self, failures: Path | None, task_files: Mapping[str, str | None]) -> Found:
        if failures is not None:
            for task_id, data, digest in self._noting_trouble(_entries(failures)):
                self._offer(task_id, data, digest)
                if not self._left:
                    break
        for name, task_format in task_files.items():
            if self._left:
                self._look_into(name, task_format)
        return self._result()

    def _look_into(self, name: str, task_format: str | None) -> None:
        open_ids = {key.task_id for key in self._left}
        # Where the log has no digest, all entries with the id are meant.
        by_id = {key.task_id for key in self._left if key.digest is None}
        for task_id, data in self._noting_trouble(_tasks(name, task_format)):
            if task_id not in open_ids:
                continue
            if task_id in by_id:
                self._write(TaskKey(task_id, None), data)
            else:
                self._offer(task_id, data, data_digest(data))

    def _noting_trouble(self, items: Iterator[T]) -> Iterator[T]:
        try:
            yield from items
        except (SourceError, ConfigurationError, OSError) as error:
            self._found.problems.append(str(error))

    def _offer(self, task_id: str, data: Mapping[str, Any], digest: str | None) -> None:
        key = TaskKey(task_id, digest)
        if key not in self._left:
            key = TaskKey(task_id, None)
        if key in self._left:
            self._write(key, data)
        else:
            self._seen_ids.add(task_id)

    def _write(self, key: TaskKey, data: Mapping[str, Any]) -> None:
        entry = {"task_id": key.task_id, "data": dict(data), "cause": self._wanted[key]}
        self._left.discard(key)
        try:
            line = json.dumps(entry, default=date_as_text, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            self._unwritable.add(key)
            return
        self._output.write(f"{line}\n")
        self._found.written += 1

    def _result(self) -> Found:
        found = self._found
        found.unwritable = len(self._unwritable)
        found.other_data = sum(key.task_id in self._seen_ids for key in self._left)
        found.missing = len(self._left) - found.other_data
        return found


def _entries(path: Path) -> Iterator[tuple[str, Mapping[str, Any], str | None]]:
    """Yield id, data and digest of what a run kept; a line that is no such thing is left out."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(entry, dict):
                continue
            task_id, data = entry.get("task_id"), entry.get("data")
            if isinstance(task_id, str) and isinstance(data, dict):
                digest = entry.get("data_digest")
                yield task_id, data, digest if isinstance(digest, str) else data_digest(data)


def _tasks(name: str, task_format: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    source = make_source(name, task_format=task_format)
    try:
        source.open()
        ended = False
        while not ended:
            batch = source.receive(_BATCH)
            ended = batch.ended
            for delivery in batch.deliveries:
                yield delivery.task.task_id, delivery.task.data
    finally:
        source.close()
