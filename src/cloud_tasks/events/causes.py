"""Name the cause of a failed task, so that failures of the same kind get the same text.

The summary of a run, its report and the list of its failures group failures by this text.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cloud_tasks.errors import unreachable
from cloud_tasks.events.tracebacks import crash_site, summarise
from cloud_tasks.outcome import Aborted, Completed, Exited, Outcome, OverMemory, Raised, TimedOut

#: Characters of a cause, and of a text that are searched for it.
_LONGEST, _SEARCHED = 120, 2000
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
#: The text that ``events.records`` writes for a task that used too much memory.
_OVER_MEMORY = re.compile(
    r"MemoryError: the task's processes used .* more than the limit of (.+) GB"
)
#: Types of the events that mean a task's own failure.
_FAILURES = frozenset({"task_exception", "task_timed_out", "task_exited", "task_dead"})


@dataclass(frozen=True, slots=True)
class FailureCause:
    """The cause of a failure; equal for failures of the same kind.

    Attributes:
        text: one line, with every number replaced by ``#``.
        where: the innermost frame of the user's own code, ``file.py:12 in load``; None if there
            is none or it is unknown.
    """

    text: str
    where: str | None


def cause_of(outcome: Outcome) -> str:
    """Return the cause of an outcome that is not a success, in one line."""
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
        return folded(summarise(outcome.traceback)[0])
    first = outcome.message.strip().partition("\n")[0]
    return folded(f"{outcome.exc_type}: {first}" if first else outcome.exc_type)


def _over_memory(limit: str) -> str:
    return f"used more than {limit} GB of memory"


def is_failure(event: Mapping[str, Any]) -> bool:
    """Return True if *event* means that a task failed, in one attempt or for good.

    ``task_aborted``, and a completion that asks for another try, are not failures of the task.
    """
    kind = event.get("event_type")
    return isinstance(kind, str) and kind in _FAILURES


def cause_of_event(event: Mapping[str, Any]) -> FailureCause:
    """Return why the task of *event* is not done, in the words of :func:`cause_of`.

    Accepts events of any kind, also of the older system, with values of any type. Where an event
    lacks details, the text is less specific.
    """
    match event.get("event_type"):
        case "task_exception" | "fatal_exception" | "non_fatal_exception":
            return _exception(event)
        case "task_exited":
            return _exited(event)
        case "task_timed_out":
            text = "ran too long"
        case "task_aborted":
            text = _with_reason("aborted", _line(event.get("reason")))
        case "task_dead":
            text = _with_reason("given up", folded(_line(event.get("reason"))))
        case "task_completed":
            text = "asked for another try" if event.get("retry") else "done"
        case _:
            text = "unknown cause"
    return FailureCause(text, None)


def _exception(event: Mapping[str, Any]) -> FailureCause:
    text = event.get("exception")
    if not isinstance(text, str) or not text.strip():
        return FailureCause("an exception without a text", None)
    memory = _OVER_MEMORY.match(text)
    if memory is not None:
        return FailureCause(_over_memory(memory[1][:_LONGEST]), None)
    words, where = summarise(text)
    return FailureCause(folded(words), where)


def _exited(event: Mapping[str, Any]) -> FailureCause:
    code, hint, traceback = (event.get(key) for key in ("exit_code", "hint", "traceback"))
    where = crash_site(traceback) if isinstance(traceback, str) else None
    if code is not None and (type(code) is not int or abs(code) >= 2**63):
        return FailureCause("its process ended", where)
    return FailureCause(exit_text(code, _line(hint) or None), where)


def _with_reason(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


def _line(text: object) -> str:
    """Return the first line of *text*, cut to a table cell; empty where it is not a string."""
    return text.strip().partition("\n")[0][:_LONGEST] if isinstance(text, str) else ""


def folded(text: str) -> str:
    """Return *text* with every number replaced by ``#``, cut to a table cell."""
    return _NUMBER.sub("#", text[:_SEARCHED])[:_LONGEST]


def exit_text(code: int | None, hint: str | None = None) -> str:
    """Describe how a process ended: ``exit code 3``, ``killed by signal 9 (SIGKILL)``."""
    suffix = f", {hint}" if hint else ""
    if code is None:
        return f"its process is lost{suffix}"
    if code >= 0:
        return f"exit code {code}{suffix}"
    name = signal_name(code)
    return f"killed by signal {-code}{f' ({name})' if name else ''}{suffix}"


def signal_name(code: int | None) -> str | None:
    """Return the name of the signal in exit code *code*; None if there is none, or none known."""
    if code is None or code >= 0:
        return None
    try:
        return signal.Signals(-code).name
    except ValueError:
        return None
