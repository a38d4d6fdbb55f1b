"""Which tasks of a run failed in the end, and what their failures have in common.

A task's last event counts: whoever failed and was done by a later try has not failed. Memory
grows with the tasks that are not done by then (about half a kilobyte each, measured), never
with those that are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cloud_tasks.events.causes import FailureCause, cause_of_event, is_failure
from cloud_tasks.events.reading import TASK_EVENTS

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
