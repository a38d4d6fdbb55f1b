"""What an event tells of one try of a task, whatever is missing or wrong in it."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloud_tasks.timestamps import PlausibleTimestamps

#: Characters that are kept of a task's id, and of the name of a host.
LONGEST_ID, _LONGEST_NAME = 500, 120
UNNAMED = "(no name)"
#: Larger numbers are nobody's seconds, and nobody's megabytes.
_LARGEST = 1e9
_MOST_SLOTS = 100_000
#: A task that ended so did nothing wrong.
_NO_FAILURES = frozenset({"task_completed", "task_aborted"})
SLOWEST = 100


@dataclass(slots=True)
class Try:
    """One try of a task. None: the log doesn't tell.

    Attributes:
        kind: the event's type.
        task_id, host: who and where, as text, possibly cut.
        done: the task is done by it.
        failed: it ended otherwise than by returning, for a reason of its own.
        again: the task was put back, or would have been where that is possible.
        when: of the event, in seconds since the epoch.
        start, end: of the run; without ``started`` and ``run_time``, of having a slot.
        seconds: that it ran; without ``run_time``, that it had a slot.
        slot: its number.
        attempt: its number, from 1.
        max_rss_mb: peak memory, MiB.
        cpu_time: seconds.
    """

    kind: str
    task_id: str
    host: str
    done: bool
    failed: bool
    again: bool
    when: float | None
    start: float | None
    end: float | None
    seconds: float | None
    slot: int | None
    attempt: int | None
    max_rss_mb: float | None
    cpu_time: float | None


def read_try(
    event: Mapping[str, Any],
    kind: str,
    when: float | None,
    host: str,
    timestamps: PlausibleTimestamps,
) -> Try:
    """Return what *event*, of type *kind* and recorded at *when* on *host*, tells of its try."""
    get = event.get
    again = get("retry") is True
    run_time, seconds = amount(get("run_time")), amount(get("elapsed_time"))
    started = None if run_time is None else timestamps.parse(get("started"))
    if run_time is not None and started is not None:
        start: float | None = started
        end: float | None = started + run_time
    else:
        start = None if when is None else when - (seconds or 0.0)
        end = when
    return Try(
        kind,
        text(get("task_id"), LONGEST_ID),
        host,
        kind == "task_completed" and not again,
        kind not in _NO_FAILURES,
        again,
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
    """Return *value* if it is a quantity that can be meant."""
    if type(value) is float or type(value) is int:
        return float(value) if 0 <= value < _LARGEST else None
    return None


def whole(value: object, least: int) -> int | None:
    """Return *value* if it is a whole number from *least* on that can be meant."""
    return value if type(value) is int and least <= value < _MOST_SLOTS else None


def text(value: object, longest: int = _LONGEST_NAME) -> str:
    """Return *value* as a text of at most so many characters."""
    if type(value) is not str:
        value = UNNAMED if value is None else str(value)
    return value if len(value) <= longest else f"{value[: longest - 1]}…"


class Slowest:
    """The tries that took longest."""

    def __init__(self, most: int = SLOWEST) -> None:
        self._most = most
        self._heap: list[tuple[float, int, Try]] = []
        self._seen = 0

    def add(self, one: Try, seconds: float) -> None:
        """Look at *one*, which took so long."""
        if len(self._heap) < self._most:
            self._seen += 1
            heapq.heappush(self._heap, (seconds, -self._seen, one))
        elif seconds > self._heap[0][0]:
            self._seen += 1
            heapq.heapreplace(self._heap, (seconds, -self._seen, one))

    def ranked(self) -> list[Try]:
        """Return them, the longest first."""
        return [one for _, _, one in sorted(self._heap, key=lambda e: (e[0], e[1]), reverse=True)]
