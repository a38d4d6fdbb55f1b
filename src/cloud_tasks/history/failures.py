"""Group the failed tasks of a run by cause, and write them to a task file with their data.

    events ──► FailedTasks ──► FailedGroup: tasks with one cause, most frequent first
                    │
                    └──► TaskKey: id and digest ──► write_task_file ──► a task file for a new run
                                                         ▲
                            data: failures.jsonl of the run, or else its task file

A task's last event counts: a task that a later attempt completed has not failed. Memory grows
with the tasks that are not done by then (about half a kilobyte each, measured), never with those
that are. Events carry a digest of a task's data, not the data, so they must be found elsewhere.
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
from cloud_tasks.history.cause_group import CauseGroup, ranked
from cloud_tasks.sources.json_entries import JsonDecoder, decode_entry
from cloud_tasks.sources.local import make_source
from cloud_tasks.system.append_file import draft_beside

T = TypeVar("T")

#: Tasks that are read from a source at a time.
_BATCH = 1000


class TaskKey(NamedTuple):
    """The identity of a task: an id may be used again with other data.

    Attributes:
        digest: ``data_digest`` of its data; None where the log has none, as in the older system.
    """

    task_id: str
    digest: str | None


@dataclass(slots=True)
class FailedGroup(CauseGroup):
    """Tasks whose last failure had the same cause.

    Attributes:
        number: its place in the list, from 1.
        first, last: timestamps as the log has them; None: it has none.
    """

    number: int = 0
    first: str | None = None
    last: str | None = None


class FailedTasks:
    """The tasks of a run that failed or are unfinished, from its events in their order.

    Attributes:
        nameless: task events that were left out, because they have no task id.
    """

    def __init__(self) -> None:
        self.nameless = 0
        #: In the order of their last failures.
        self._failed: dict[TaskKey, tuple[FailureCause, str | None]] = {}
        self._unfinished: dict[TaskKey, FailureCause] = {}
        #: One object for each cause, because many tasks share it.
        self._causes: dict[FailureCause, FailureCause] = {}

    def read(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add all of *events*."""
        for event in events:
            self.add(event)

    def add(self, event: Mapping[str, Any]) -> None:
        """Add the next event; one that is about no task changes nothing."""
        kind = event.get("event_type")
        if not isinstance(kind, str) or (kind not in TASK_EVENTS and kind != "task_dead"):
            return
        key = _key(event)
        if key is None:
            self.nameless += 1
        elif kind == "task_dead" and key in self._failed:
            pass  # an earlier event has the cause
        elif is_failure(event):
            self._forget(key)
            cause = cause_of_event(event)
            self._failed[key] = (self._causes.setdefault(cause, cause), _when(event))
        else:
            self._forget(key)
            if kind != "task_completed" or event.get("retry"):
                cause = cause_of_event(event)
                self._unfinished[key] = self._causes.setdefault(cause, cause)

    def _forget(self, key: TaskKey) -> None:
        for known in (key, TaskKey(key.task_id, None)):
            self._failed.pop(known, None)
            self._unfinished.pop(known, None)

    @property
    def count(self) -> int:
        """The number of failed tasks."""
        return len(self._failed)

    def to_run_again(self) -> dict[str, int]:
        """Return the number of unfinished tasks that did not fail, by cause, most frequent first.

        They were aborted, or asked for another attempt.
        """
        counts: dict[str, int] = {}
        for cause in self._unfinished.values():
            counts[cause.text] = counts.get(cause.text, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def groups(self) -> list[FailedGroup]:
        """Return the failed tasks by cause, the most frequent first."""
        found: dict[FailureCause, FailedGroup] = {}
        for key, (cause, when) in self._failed.items():
            group = found.get(cause)
            if group is None:
                group = found[cause] = FailedGroup(cause, first=when)
            group.count_failure(key.task_id)
            group.last = when
        groups = ranked(found.values())
        for number, group in enumerate(groups, 1):
            group.number = number
        return groups

    def of(self, groups: Iterable[FailedGroup]) -> Iterator[tuple[TaskKey, FailureCause]]:
        """Yield the failed tasks of *groups*, in the order in which they failed."""
        causes = {group.cause for group in groups}
        for key, (cause, _) in self._failed.items():
            if cause in causes:
                yield key, cause


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


# -- writing a task file


@dataclass(slots=True)
class SearchResult:
    """The result of a search for the data of failed tasks.

    Attributes:
        written: entries that were written.
        missing: tasks that were not found.
        other_data: tasks whose id was found with other data only.
        unwritable: tasks whose data JSON can't hold.
        problems: files that couldn't be read, a sentence each.
    """

    written: int = 0
    missing: int = 0
    other_data: int = 0
    unwritable: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """The number of tasks that were not written."""
        return self.other_data + self.unwritable + self.missing


def write_task_file(
    path: Path,
    tasks: Mapping[TaskKey, str],
    *,
    failures: Path | None,
    task_files: Mapping[str, str | None],
) -> SearchResult:
    """Write *tasks* to *path*, each with its cause; all of it or nothing.

    Args:
        path: of the file, JSON Lines; its old content is replaced.
        tasks: the cause of each.
        failures: the run's own list of failures.
        task_files: other places of data, searched in this order; the value is the format, where
            the name doesn't tell it.

    Raises:
        HistoryError: the file can't be written.
    """
    path = Path(os.path.realpath(path))
    try:
        with draft_beside(path) as draft:
            with draft.open("w", encoding="ascii") as output:
                result = _Search(tasks, output).run(failures, task_files)
                output.flush()
                os.fsync(output.fileno())
            if result.written or not tasks:
                draft.replace(path)
    except OSError as error:
        raise HistoryError(f"{str(path)!r} can't be written: {error.strerror or error}") from error
    return result


class _Search:
    """One search for the data of tasks, which writes each as soon as it is found."""

    def __init__(self, tasks: Mapping[TaskKey, str], output: IO[str]) -> None:
        self._tasks = tasks
        self._output = output
        self._left = set(tasks)
        #: Ids of entries that are none of the tasks.
        self._other_ids: set[str] = set()
        self._unwritable: set[TaskKey] = set()
        self._result = SearchResult()

    def run(self, failures: Path | None, task_files: Mapping[str, str | None]) -> SearchResult:
        if failures is not None:
            for task_id, data, digest in self._recording_problems(_kept_failures(failures)):
                self._check(task_id, data, digest)
                if not self._left:
                    break
        for name, task_format in task_files.items():
            if self._left:
                self._search_task_file(name, task_format)
        result = self._result
        result.unwritable = len(self._unwritable)
        result.other_data = sum(key.task_id in self._other_ids for key in self._left)
        result.missing = len(self._left) - result.other_data
        return result

    def _search_task_file(self, name: str, task_format: str | None) -> None:
        open_ids = {key.task_id for key in self._left}
        # Where the log has no digest, all entries with the id are meant.
        by_id = {key.task_id for key in self._left if key.digest is None}
        for task_id, data in self._recording_problems(_tasks(name, task_format)):
            if task_id not in open_ids:
                continue
            if task_id in by_id:
                self._write(TaskKey(task_id, None), data)
            else:
                self._check(task_id, data, data_digest(data))

    def _recording_problems(self, items: Iterator[T]) -> Iterator[T]:
        try:
            yield from items
        except (SourceError, ConfigurationError, OSError) as error:
            self._result.problems.append(str(error))

    def _check(self, task_id: str, data: Mapping[str, Any], digest: str | None) -> None:
        """Write the entry if it is one of the tasks."""
        key = TaskKey(task_id, digest)
        if key not in self._left:
            key = TaskKey(task_id, None)
        if key in self._left:
            self._write(key, data)
        else:
            self._other_ids.add(task_id)

    def _write(self, key: TaskKey, data: Mapping[str, Any]) -> None:
        entry = {"task_id": key.task_id, "data": dict(data), "cause": self._tasks[key]}
        self._left.discard(key)
        try:
            line = json.dumps(entry, default=date_as_text, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            self._unwritable.add(key)
            return
        self._output.write(f"{line}\n")
        self._result.written += 1


def _kept_failures(path: Path) -> Iterator[tuple[str, Mapping[str, Any], str | None]]:
    """Yield id, data and digest of the tasks in a run's list of failures; skip other lines."""
    decoder = JsonDecoder()
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            entry = decode_entry(decoder, line)
            if entry is None:
                continue
            task_id, data = entry.get("task_id"), entry.get("data")
            if isinstance(task_id, str) and isinstance(data, dict):
                digest = entry.get("data_digest")
                yield task_id, data, digest if isinstance(digest, str) else data_digest(data)


def _tasks(name: str, task_format: str | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield id and data of the tasks in a task file."""
    source = make_source(name, task_format=task_format)
    try:
        source.open()
        for batch in source.batches(_BATCH):
            for delivery in batch.deliveries:
                yield delivery.task.task_id, delivery.task.data
    finally:
        source.close()
