"""Explaining why a process died in the middle of a task. Text only; nobody prints here."""

from __future__ import annotations

import signal
import textwrap

from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.display.sanitize import without_controls
from cloud_tasks.outcome import CrashInfo, Exited, Outcome, OverMemory, TimedOut
from cloud_tasks.text import plural, safe

#: The page that tells more.
HELP = "docs/what-can-go-wrong.md"
#: A task that used this share of what was free is the one that the memory ran out for.
_NEARLY_ALL = 0.8
_WIDTH = 78
_LINES_SHOWN, _FRAMES_SHOWN = 5, 3
_MB, _GB = 2**20, 2**30

#: What usually sends a signal to a task, where nobody else is known to have.
_USUAL = {
    signal.SIGSEGV: "Code written in C used memory that is not its own.",
    signal.SIGBUS: "Code written in C used memory that is not there, or a mapped file shrank.",
    signal.SIGABRT: "Code written in C gave up by itself, as after a failed assertion.",
    signal.SIGFPE: "Code written in C computed something impossible, as a division by zero.",
    signal.SIGILL: "Code written in C is made for another kind of CPU.",
    signal.SIGKILL: "Somebody killed it.",
    signal.SIGTERM: "Somebody told it to end.",
}


def is_explained(outcome: Outcome) -> bool:
    """Tell whether there is more to say than that and why the task is not done."""
    match outcome:
        case Exited():
            return outcome.exit_code is None or outcome.exit_code < 0
        case OverMemory():
            return True
        case TimedOut():
            crash_info = outcome.crash_info
            return crash_info is not None and bool(crash_info.traceback or crash_info.last_output)
        case _:
            return False


def explanation(task_id: str, outcome: Outcome, facts: RunInfo, others: int = 0) -> list[str]:
    """Return the lines below the one that says how *task_id* ended.

    Args:
        task_id: of the task.
        outcome: how it ended.
        facts: what else is known of the run.
        others: how many other tasks were running.
    """
    if not isinstance(outcome, Exited | OverMemory | TimedOut):
        return []
    crash_info = outcome.crash_info or CrashInfo()
    told = [
        *_memory(outcome, crash_info),
        *_usual(outcome, crash_info),
        *_others(others if facts.isolated else 0),
    ]
    lines = textwrap.wrap(" ".join(told), _WIDTH - 2)
    lines += _advice(outcome, crash_info, facts.slots())
    lines += _labelled("it was in", _frames(crash_info.traceback))
    lines += _labelled("last output", _output(crash_info.last_output))
    for label, command in (("see", facts.see(task_id)), ("run it alone", facts.alone(task_id))):
        lines += [] if command is None else [f"{label:<12} {safe(command, 1000)}"]
    if not isinstance(outcome, TimedOut):
        lines.append(f"why did my task die: {HELP}")
    return [f"  {line}" for line in lines]


def _memory(outcome: Outcome, crash_info: CrashInfo) -> list[str]:
    if isinstance(outcome, OverMemory):
        return [
            f"Its processes used {_bytes(outcome.used)}, more than the limit of "
            f"{_bytes(outcome.limit)}."
        ]
    if crash_info.memory is None:
        return []
    free = crash_info.free_memory
    was = "" if free is None else f"; {_bytes(free)} were free when it began"
    return [f"Memory at its end: {_bytes(crash_info.memory)}{was}."]


def _usual(outcome: Outcome, crash_info: CrashInfo) -> list[str]:
    """Say what usually ends a process so."""
    if not isinstance(outcome, Exited) or outcome.exit_code is None:
        return []
    if outcome.hint is not None and "memory" in outcome.hint:
        return ["The machine was out of memory, and the kernel ended it."]
    if _ran_out(outcome, crash_info):
        return ["Probably the machine was out of memory."]
    if outcome.hint is not None:
        return []  # the line above says it
    try:
        return [_USUAL[signal.Signals(-outcome.exit_code)]]
    except (KeyError, ValueError):
        return []


def _ran_out(outcome: Outcome, crash_info: CrashInfo) -> bool:
    """Tell whether memory ran out, as far as that can be known."""
    if not isinstance(outcome, Exited) or outcome.exit_code != -9:
        return False
    if outcome.hint is not None:
        return "memory" in outcome.hint
    used, free = crash_info.memory, crash_info.free_memory
    return used is not None and free is not None and used >= _NEARLY_ALL * free


def _others(others: int) -> list[str]:
    if not others:
        return []
    if others == 1:
        return ["The other running task was not affected."]
    return [f"The {plural(others, 'other running task')} were not affected."]


def _advice(outcome: Outcome, crash_info: CrashInfo, slots: int) -> list[str]:
    fewer = f"--num-simultaneous-tasks {slots // 2}" if slots > 1 else ""
    if isinstance(outcome, OverMemory):
        words = ["a higher --max-memory-allowed-per-task", *([f"with {fewer}"] if fewer else [])]
        return [f"try          {'   '.join(words)}"]
    if not _ran_out(outcome, crash_info):
        return []
    words = [*([fewer] if fewer else []), "--max-memory-allowed-per-task GB"]
    return [f"try          {'   or   '.join(words)}"]


def _frames(traceback: str | None) -> list[str]:
    """Return the innermost frames of what faulthandler or Python wrote, innermost first."""
    if not traceback:
        return []
    lines = [line.strip() for line in traceback.splitlines()]
    if any("most recent call last" in line for line in lines):
        lines.reverse()
    frames = [line for line in lines if line.startswith("File ")]
    return [safe(frame, 100) for frame in frames[:_FRAMES_SHOWN]]


def _output(text: str | None) -> list[str]:
    lines = (text or "").rstrip().splitlines()[-_LINES_SHOWN:]
    return [f"| {safe(without_controls(line), 100)}" for line in lines]


def _labelled(label: str, texts: list[str]) -> list[str]:
    labels = [label, *[""] * len(texts)]
    return [f"{name:<12} {text}" for name, text in zip(labels, texts, strict=False)]


def _bytes(count: int) -> str:
    return f"{count / _GB:.1f} GB" if count >= _GB else f"{count / _MB:.0f} MB"
