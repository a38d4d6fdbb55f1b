"""Failures that look alike, together, and how often a task was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloud_tasks.events.causes import cause_of_event
from cloud_tasks.report.tally.tries import Try

#: Further causes are counted together.
MOST_CAUSES = 1000
OTHER_CAUSES = "other causes"
#: Of each cause.
EXAMPLES, _HOSTS = 5, 20
#: Characters of a traceback that are kept: the last ones tell where it was.
_TRACEBACK = 4000
#: Tasks that are not done by now and are remembered by their id.
_REMEMBERED = 20_000
#: Tries that are told apart; later ones count with the last of them.
_MOST_TRIES = 100


@dataclass(slots=True)
class Group:
    """Failures with one cause.

    Attributes:
        text: what they have in common.
        where: the innermost frame of the user's code, where there is a traceback.
        count: how many tries failed so.
        first, last: times of events, in seconds since the epoch; None: the log doesn't tell.
        hosts: how many on each host, of the first few hosts.
        examples: ids of the first few tasks.
        traceback: of the first.
        by_type: how many events of each type.
    """

    text: str
    where: str | None = None
    count: int = 0
    first: float | None = None
    last: float | None = None
    hosts: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    traceback: str | None = None
    by_type: dict[str, int] = field(default_factory=dict)

    def add(self, event: Mapping[str, Any], one: Try) -> None:
        """Count one try, of *event*."""
        when, host, task_id, kind = one.when, one.host, one.task_id, one.kind
        self.count += 1
        if when is not None:
            self.first = when if self.first is None else min(self.first, when)
            self.last = when if self.last is None else max(self.last, when)
        if host in self.hosts or len(self.hosts) < _HOSTS:
            self.hosts[host] = self.hosts.get(host, 0) + 1
        if len(self.examples) < EXAMPLES and task_id not in self.examples:
            self.examples.append(task_id)
        self.by_type[kind] = self.by_type.get(kind, 0) + 1
        if self.traceback is None:
            self.traceback = traceback_of(event)


def traceback_of(event: Mapping[str, Any]) -> str | None:
    """Return the end of the traceback that *event* carries, if it does."""
    for key in ("exception", "traceback"):
        text = event.get(key)
        if isinstance(text, str) and "\n" in text.strip():
            return text if len(text) <= _TRACEBACK else f"…{text[-_TRACEBACK:]}"
    return None


class Failures:
    """The groups."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str | None], Group] = {}
        #: Causes that were counted together with others, each time they came.
        self._others: Group | None = None

    def add(self, event: Mapping[str, Any], one: Try) -> None:
        """Count one try that did not get its task done."""
        cause = cause_of_event(event)
        key = (cause.text, cause.where)
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) < MOST_CAUSES:
                group = self._groups[key] = Group(cause.text, cause.where)
            else:
                group = self._others = self._others or Group(OTHER_CAUSES)
        group.add(event, one)

    def ranked(self) -> list[Group]:
        """Return the groups, the most frequent first, and what is left over last."""
        ranked = sorted(self._groups.values(), key=lambda group: -group.count)
        return ranked if self._others is None else [*ranked, self._others]


class Tries:
    """How often tasks were tried, and whether that helped.

    The log's own ``attempt`` is taken where it has one. Else tries are counted by the id of tasks
    that are not done yet, as long as those are not too many.

    Attributes:
        by_attempt: of each number of an attempt, how many ended well and how many did not.
        unknown: tries whose number nobody knows.
        rescued: tasks that were done after a try that was not.
    """

    def __init__(self, most: int = _REMEMBERED) -> None:
        self.by_attempt: dict[int, list[int]] = {}
        self.unknown = 0
        self.rescued = 0
        self._most = most
        #: By the hash of the id, which is shorter.
        self._open: dict[int, int] = {}
        self._overflowed = False

    @property
    def not_done(self) -> int | None:
        """How many tasks are not done, by what their last try came to; None: too many to tell."""
        return None if self._overflowed else len(self._open)

    def add(self, task_id: str, attempt: int | None, done: bool) -> int | None:
        """Count a try; returns its number, from 1, where that is known."""
        before = self._open.get(hash(task_id), 0) if self._open else 0
        number: int | None = before + 1
        if attempt is not None:
            number = attempt
        elif self._overflowed and not before:
            number = None
        self._count(number, done)
        if not done:
            self._remember(task_id, before)
        elif before:
            del self._open[hash(task_id)]
            self.rescued += 1
        return number

    def _count(self, number: int | None, done: bool) -> None:
        if number is None:
            self.unknown += 1
            return
        counts = self.by_attempt.setdefault(min(number, _MOST_TRIES), [0, 0])
        counts[0 if done else 1] += 1

    def _remember(self, task_id: str, before: int) -> None:
        if before or len(self._open) < self._most:
            self._open[hash(task_id)] = before + 1
        else:
            self._overflowed = True
