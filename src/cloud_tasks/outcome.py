"""Describe how a task ended: exactly one of six values, never an exception.

``Aborted`` is an end that the worker caused, so the task goes back to where it came from. The
other five are the task's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple


class Measures(NamedTuple):
    """Measurements of one execution of a task; None where no reliable value could be had.

    Attributes:
        slot: number of the slot that ran it, from 0.
        elapsed_time: seconds from its assignment to a slot until the outcome, monotonic.
        started: when its function was called, in seconds since the epoch.
        run_time: seconds inside the function.
        cpu_time: CPU seconds of its process and the children it waited for, inside the function.
        max_rss_mb: peak resident memory of its process during the run, in MiB.
    """

    slot: int | None = None
    elapsed_time: float = 0.0
    started: float | None = None
    run_time: float | None = None
    cpu_time: float | None = None
    max_rss_mb: float | None = None


NOT_MEASURED = Measures()


@dataclass(frozen=True, slots=True)
class CrashInfo:
    """Traces of a process that ended in the middle of a task; None where there are none.

    Attributes:
        traceback: Python's stack, as faulthandler wrote it.
        last_output: the last lines that the task printed or logged, where they are captured.
        memory: bytes that its processes used when last measured.
        free_memory: bytes that the machine had available when the task began.
    """

    traceback: str | None = None
    last_output: str | None = None
    memory: int | None = None
    free_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """The function returned ``(retry, result)``.

    Attributes:
        retry: the task asked to be run again.
        result_json: the result as JSON text in one line of ASCII.
        replaced_nan: NaN or an infinity in the result became null.
    """

    retry: bool
    result_json: bytes
    measures: Measures = NOT_MEASURED
    replaced_nan: bool = False

    @property
    def result(self) -> Any:
        """Return the result, parsed anew at each access."""
        return json.loads(self.result_json)


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised, or returned something other than ``(retry, result)``.

    Attributes:
        exc_type: name of the exception's class.
        message: its text.
        traceback: everything that Python would print, including the last line.
    """

    exc_type: str
    message: str
    traceback: str
    measures: Measures = NOT_MEASURED


@dataclass(frozen=True, slots=True)
class TimedOut:
    """It ran longer than *max_runtime* seconds, counted from the call of the function."""

    max_runtime: float
    measures: Measures = NOT_MEASURED
    crash_info: CrashInfo | None = None


@dataclass(frozen=True, slots=True)
class Exited:
    """Its process ended, or announced its end, before the function returned.

    Attributes:
        exit_code: as Python reports it, negative for a signal; None where it can't be known.
        hint: a likely reason, for people.
    """

    exit_code: int | None
    hint: str | None = None
    measures: Measures = NOT_MEASURED
    crash_info: CrashInfo | None = None


@dataclass(frozen=True, slots=True)
class OverMemory:
    """Its process tree used more memory than allowed; *limit* and *used* in bytes."""

    limit: int
    used: int
    measures: Measures = NOT_MEASURED
    crash_info: CrashInfo | None = None


@dataclass(frozen=True, slots=True)
class Aborted:
    """The worker ended it, for *reason*; it has to be run again, here or elsewhere."""

    reason: str
    measures: Measures = NOT_MEASURED


Outcome = Completed | Raised | TimedOut | Exited | OverMemory | Aborted
