"""What becomes of a task: exactly one of six values, never an exception.

``Aborted`` is the end that *we* caused, so the task goes back to where it came from. The other
five are the task's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple


class Measures(NamedTuple):
    """What was measured of one run of a task. None: could not be measured honestly.

    Attributes:
        slot: which slot ran it, from 0.
        elapsed_time: seconds from giving it the slot to knowing the outcome, monotonic.
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
    """What a process that ended in the middle of a task left behind. None: there was none.

    Attributes:
        traceback: where Python was, by faulthandler.
        last_output: the last lines that the task printed or logged, where they are captured.
        memory: bytes that its processes used when last looked at.
        free_memory: bytes that the machine had to give when the task began.
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
        """The result, parsed anew at each access."""
        return json.loads(self.result_json)


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised, or returned what can't be taken for ``(retry, result)``.

    Attributes:
        exc_type: name of the exception's class.
        message: its text.
        traceback: all that Python would print, its last line included.
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
        exit_code: as Python gives it: negative for a signal; None where nobody can know.
        hint: a likely reason, for people.
    """

    exit_code: int | None
    hint: str | None = None
    measures: Measures = NOT_MEASURED
    crash_info: CrashInfo | None = None


@dataclass(frozen=True, slots=True)
class OverMemory:
    """Its process tree used more memory than allowed; both numbers in bytes."""

    limit: int
    used: int
    measures: Measures = NOT_MEASURED
    crash_info: CrashInfo | None = None


@dataclass(frozen=True, slots=True)
class Aborted:
    """We ended it, for *reason*; it is to be run again by somebody."""

    reason: str
    measures: Measures = NOT_MEASURED


Outcome = Completed | Raised | TimedOut | Exited | OverMemory | Aborted
