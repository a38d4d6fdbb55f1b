"""Group the attempts that did not complete their task by cause, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloud_tasks.events.causes import FailureCause, cause_of_event
from cloud_tasks.history.cause_group import CauseGroup, ranked
from cloud_tasks.report.tally.attempts import Attempt

#: Causes that have a group of their own; further ones share the group OTHER_CAUSES.
MAX_CAUSES = 1000
OTHER_CAUSES = FailureCause("other causes", None)
#: Hosts that a group tells apart.
_HOSTS = 20
#: Characters of a traceback that are kept: the last ones, which say where it was.
_TRACEBACK = 4000


@dataclass(slots=True)
class AttemptGroup(CauseGroup):
    """Attempts that failed for the same cause.

    Attributes:
        first, last: times of events, in seconds since the epoch; None: the log doesn't tell.
        hosts: the count on each host, of the first few hosts.
        traceback: of the first.
        by_type: the count of events of each type.
    """

    first: float | None = None
    last: float | None = None
    hosts: dict[str, int] = field(default_factory=dict)
    traceback: str | None = None
    by_type: dict[str, int] = field(default_factory=dict)

    def add(self, event: Mapping[str, Any], one: Attempt) -> None:
        """Count the attempt *one*, of *event*."""
        when, host, kind = one.when, one.host, one.kind
        self.count_failure(one.task_id)
        if when is not None:
            self.first = when if self.first is None else min(self.first, when)
            self.last = when if self.last is None else max(self.last, when)
        if host in self.hosts or len(self.hosts) < _HOSTS:
            self.hosts[host] = self.hosts.get(host, 0) + 1
        self.by_type[kind] = self.by_type.get(kind, 0) + 1
        if self.traceback is None:
            self.traceback = _traceback_of(event)


def _traceback_of(event: Mapping[str, Any]) -> str | None:
    """Return the end of the traceback in *event*; None if it has none."""
    for key in ("exception", "traceback"):
        text = event.get(key)
        if isinstance(text, str) and "\n" in text.strip():
            return text if len(text) <= _TRACEBACK else f"…{text[-_TRACEBACK:]}"
    return None


class FailureGroups:
    """The groups of a report: one for each cause, up to MAX_CAUSES, and one for all others."""

    def __init__(self) -> None:
        self._groups: dict[FailureCause, AttemptGroup] = {}
        self._others: AttemptGroup | None = None

    def add(self, event: Mapping[str, Any], one: Attempt) -> None:
        """Count an attempt that did not complete its task."""
        cause = cause_of_event(event)
        group = self._groups.get(cause)
        if group is None:
            if len(self._groups) < MAX_CAUSES:
                group = self._groups[cause] = AttemptGroup(cause)
            else:
                group = self._others = self._others or AttemptGroup(OTHER_CAUSES)
        group.add(event, one)

    def ranked(self) -> list[AttemptGroup]:
        """Return the groups, the most frequent first, and the group of other causes last."""
        groups = ranked(self._groups.values())
        return groups if self._others is None else [*groups, self._others]
