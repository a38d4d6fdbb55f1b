"""Read one attempt from its event, number the attempts of a task, keep the slowest.

An event may come from any version or from the older system, so a missing or impossible value is
None here, and never an error. Texts are cut and numbers bounded, because a log is foreign.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloud_tasks.timestamps import plausible_timestamp

#: Characters that are kept of a task's id, and of the name of a host.
LONGEST_ID, _LONGEST_NAME = 500, 120
UNNAMED = "(no name)"
#: A larger number is no plausible amount of seconds or megabytes.
_LARGEST = 1e9
#: Slot and attempt numbers from here on are not plausible.
_MAX_NUMBER = 100_000
#: Types of event whose task did not fail.
_NO_FAILURES = frozenset({"task_completed", "task_aborted"})
#: Attempts that Slowest keeps.
SLOWEST = 100
#: Unfinished tasks whose ids AttemptCounts remembers.
_REMEMBERED = 20_000
#: Attempts with this number or a higher one are counted together.
_HIGHEST_ATTEMPT = 100


@dataclass(slots=True)
class Attempt:
    """One attempt at a task. None: the log doesn't tell.

    Attributes:
        kind: the event's type.
        task_id, host: as text, possibly cut.
        worker: its id; None in the older system.
        done: it completed its task.
        failed: it ended otherwise than by returning, for a reason of its own.
        put_back: the task was put back, or would have been where that is possible.
        when: of the event, in seconds since the epoch.
        start, end: of the run; without ``started`` and ``run_time``, of having a slot.
        seconds: that it ran; without ``run_time``, that it had a slot.
        number: of the attempt, from 1.
        max_rss_mb: peak memory, MiB.
        cpu_time: seconds.
    """

    kind: str
    task_id: str
    host: str
    worker: str | None
    done: bool
    failed: bool
    put_back: bool
    when: float | None
    start: float | None
    end: float | None
    seconds: float | None
    slot: int | None
    number: int | None
    max_rss_mb: float | None
    cpu_time: float | None


def read_attempt(
    event: Mapping[str, Any],
    kind: str,
    when: float | None,
    host: str,
    worker: str | None,
) -> Attempt:
    """Return the attempt that *event*, of type *kind* and made at *when* by *worker*, ended."""
    get = event.get
    put_back = get("retry") is True
    run_time, seconds = amount(get("run_time")), amount(get("elapsed_time"))
    started = None if run_time is None else plausible_timestamp(get("started"))
    if run_time is not None and started is not None:
        start: float | None = started
        end: float | None = started + run_time
    else:
        start = None if when is None else when - (seconds or 0.0)
        end = when
    return Attempt(
        kind,
        short_text(get("task_id"), LONGEST_ID),
        host,
        worker,
        kind == "task_completed" and not put_back,
        kind not in _NO_FAILURES,
        put_back,
        when,
        start,
        end,
        seconds if run_time is None else run_time,
        whole(get("slot"), 0),
        whole(get("attempt"), 1),
        amount(get("max_rss_mb")),
        amount(get("cpu_time")),
    )


def amount(value: object) -> float | None:
    """Return *value* if it is a plausible amount; None if not."""
    if type(value) is float or type(value) is int:
        return float(value) if 0 <= value < _LARGEST else None
    return None


def whole(value: object, least: int) -> int | None:
    """Return *value* if it is a plausible whole number, *least* or more; None if not."""
    return value if type(value) is int and least <= value < _MAX_NUMBER else None


def short_text(value: object, longest: int = _LONGEST_NAME) -> str:
    """Return *value* as text, cut to *longest* characters."""
    if type(value) is not str:
        value = UNNAMED if value is None else str(value)
    return value if len(value) <= longest else f"{value[: longest - 1]}…"


class AttemptCounts:
    """Counts of attempts by their number, and of the tasks that a later one completed.

    The log's own ``attempt`` is taken where it has one. Else attempts are counted by the ids of
    the unfinished tasks, until those are too many.

    Attributes:
        by_number: for each number of an attempt, how many completed their task and how many not.
        unknown: attempts whose number can't be known.
        rescued: tasks that were completed after an attempt that did not.
    """

    def __init__(self, limit: int = _REMEMBERED) -> None:
        self.by_number: dict[int, list[int]] = {}
        self.unknown = 0
        self.rescued = 0
        self._limit = limit
        #: Attempts at each unfinished task, by the hash of its id, which is shorter.
        self._open: dict[int, int] = {}
        self._overflowed = False

    @property
    def not_done(self) -> int | None:
        """The number of tasks that their last attempt did not complete; None: too many to tell."""
        return None if self._overflowed else len(self._open)

    def add(self, task_id: str, number: int | None, done: bool) -> int | None:
        """Count an attempt; return its number, from 1, where that is known."""
        before = self._open.get(hash(task_id), 0) if self._open else 0
        if number is None and (before or not self._overflowed):
            number = before + 1
        if number is None:
            self.unknown += 1
        else:
            counts = self.by_number.setdefault(min(number, _HIGHEST_ATTEMPT), [0, 0])
            counts[0 if done else 1] += 1
        if done:
            if before:
                del self._open[hash(task_id)]
                self.rescued += 1
        elif before or len(self._open) < self._limit:
            self._open[hash(task_id)] = before + 1
        else:
            self._overflowed = True
        return number


class Slowest:
    """The attempts that took longest."""

    def __init__(self, limit: int = SLOWEST) -> None:
        self._limit = limit
        self._heap: list[tuple[float, int, Attempt]] = []
        self._added = 0

    def add(self, one: Attempt, seconds: float) -> None:
        """Keep *one*, which took *seconds*, if it is among the slowest."""
        if len(self._heap) < self._limit:
            self._added += 1
            heapq.heappush(self._heap, (seconds, -self._added, one))
        elif seconds > self._heap[0][0]:
            self._added += 1
            heapq.heapreplace(self._heap, (seconds, -self._added, one))

    def ranked(self) -> list[Attempt]:
        """Return them, the longest first."""
        return [one for _, _, one in sorted(self._heap, key=lambda e: (e[0], e[1]), reverse=True)]
