"""Why a task is not done, in words that are alike for failures that are alike.

The same words in the summary of a run, in its report and in the list of its failures.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloud_tasks.errors import unreachable
from cloud_tasks.events.tracebacks import crash_site, last_words
from cloud_tasks.outcome import (
    Aborted,
    Completed,
    Exited,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)

_LONGEST = 120
#: More of a text is not looked at.
_ENOUGH = 2000
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
#: What ``events.records`` says of a task that used too much memory.
_OVER_MEMORY = re.compile(
    r"MemoryError: the task's processes used .* more than the limit of (.+) GB"
)
#: The ends of one try that are a task's own failure.
_FAILURES = frozenset({"task_exception", "task_timed_out", "task_exited", "task_dead"})


@dataclass(frozen=True, slots=True)
class FailureCause:
    """Why a task is not done; equal for failures that are alike.

    Attributes:
        text: in a line, with all numbers alike.
        where: the innermost frame of the user's own code, ``file.py:12 in load``; None: there is
            none, or nobody knows.
    """

    text: str
    where: str | None


def cause_of(outcome: Outcome) -> str:
    """Say why a task is not done, alike for failures that are alike."""
    match outcome:
        case Completed():
            return "asked for another try"
        case Raised():
            return _cause_of_raised(outcome)
        case TimedOut():
            return f"ran longer than {outcome.max_runtime:g} s"
        case Exited():
            return exit_text(outcome.exit_code, outcome.hint)
        case OverMemory():
            return _over_memory(f"{outcome.limit / 2**30:.3g}")
        case Aborted():
            return f"aborted: {outcome.reason}"
        case _:
            unreachable(outcome)


def _cause_of_raised(outcome: Raised) -> str:
    if outcome.traceback:
        return folded(last_words(outcome.traceback)[0])
    first = outcome.message.strip().partition("\n")[0]
    return folded(f"{outcome.exc_type}: {first}" if first else outcome.exc_type)


def _over_memory(limit: str) -> str:
    return f"used more than {limit} GB of memory"


def is_failure(event: Mapping[str, Any]) -> bool:
    """Tell whether *event* says that a task failed, by itself or for good.

    ``task_aborted``, and a completion that asks for another try, are no failures of the task.
    """
    kind = event.get("event_type")
    return isinstance(kind, str) and kind in _FAILURES


def cause_of_event(event: Mapping[str, Any]) -> FailureCause:
    """Say why the task of *event* is not done, in the words of :func:`cause_of`.

    Takes events of any kind, of ours and of the older system, whatever their values are. Where
    an event doesn't tell enough, the words say less.
    """
    kind = event.get("event_type")
    tell = _TELLERS.get(kind) if isinstance(kind, str) else None
    return FailureCause("nobody knows why", None) if tell is None else tell(event)


def _exception(event: Mapping[str, Any]) -> FailureCause:
    text = event.get("exception")
    if not isinstance(text, str) or not text.strip():
        return FailureCause("an exception without a text", None)
    memory = _OVER_MEMORY.match(text)
    if memory is not None:
        return FailureCause(_over_memory(memory[1][:_LONGEST]), None)
    words, where = last_words(text)
    return FailureCause(folded(words), where)


def _exited(event: Mapping[str, Any]) -> FailureCause:
    code, hint, traceback = (event.get(key) for key in ("exit_code", "hint", "traceback"))
    where = crash_site(traceback) if isinstance(traceback, str) else None
    if code is not None and (type(code) is not int or abs(code) >= 2**63):
        return FailureCause("its process ended", where)
    return FailureCause(exit_text(code, _line(hint) or None), where)


def _timed_out(event: Mapping[str, Any]) -> FailureCause:
    return FailureCause("ran too long", None)


def _aborted(event: Mapping[str, Any]) -> FailureCause:
    reason = _line(event.get("reason"))
    return FailureCause(f"aborted: {reason}" if reason else "aborted", None)


def _dead(event: Mapping[str, Any]) -> FailureCause:
    reason = _line(event.get("reason"))
    return FailureCause(f"given up: {folded(reason)}" if reason else "given up", None)


def _completed(event: Mapping[str, Any]) -> FailureCause:
    return FailureCause("asked for another try" if event.get("retry") else "done", None)


_TELLERS: Mapping[str, Callable[[Mapping[str, Any]], FailureCause]] = {
    "task_exception": _exception,
    "task_exited": _exited,
    "task_timed_out": _timed_out,
    "task_aborted": _aborted,
    "task_dead": _dead,
    "task_completed": _completed,
    "fatal_exception": _exception,
    "non_fatal_exception": _exception,
}


def _line(text: object) -> str:
    """Return the first line of *text*, cut to a line of a table; empty where it is no text."""
    return text.strip().partition("\n")[0][:_LONGEST] if isinstance(text, str) else ""


def folded(text: str) -> str:
    """Return *text* with all numbers alike, cut to a line of a table."""
    return _NUMBER.sub("#", text[:_ENOUGH])[:_LONGEST]


def exit_text(code: int | None, hint: str | None = None) -> str:
    """Say how a process ended: ``exit code 3``, ``killed by signal 9 (SIGKILL)``."""
    told = f", {hint}" if hint else ""
    if code is None:
        return f"its process is lost{told}"
    if code >= 0:
        return f"exit code {code}{told}"
    name = signal_name(code)
    return f"killed by signal {-code}{f' ({name})' if name else ''}{told}"


def signal_name(code: int | None) -> str | None:
    """Return the name of the signal that exit code *code* tells of; None: of none we know."""
    if code is None or code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:
        return None
