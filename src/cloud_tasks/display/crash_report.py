"""Explain why the process of a task died, and suggest what to do. Prints nothing."""

from __future__ import annotations

import signal
import textwrap

from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.display.sanitize import without_controls
from cloud_tasks.history.commands import note_on
from cloud_tasks.outcome import CrashInfo, Exited, Outcome, OverMemory, TimedOut
from cloud_tasks.text import plural, safe

#: The page with more explanations.
HELP = "docs/what-can-go-wrong.md"
#: Memory ran out because of this task if it used this share of what was free when it began.
_NEARLY_ALL = 0.8
_WIDTH = 78
_LINES_SHOWN, _FRAMES_SHOWN = 5, 3
_MB, _GB = 2**20, 2**30

#: The usual cause of each signal, where no other sender is known.
_USUAL = {
    signal.SIGSEGV: "Native code accessed invalid memory (segmentation fault).",
    signal.SIGBUS: "Native code accessed memory that does not exist, or a mapped file shrank.",
    signal.SIGABRT: "Native code aborted, as after a failed assertion.",
    signal.SIGFPE: "Native code made an arithmetic error, as a division by zero.",
    signal.SIGILL: "Native code was built for another kind of CPU (illegal instruction).",
    signal.SIGKILL: "Another process or user killed it.",
    signal.SIGTERM: "Another process or user asked it to end.",
}


def is_explained(outcome: Outcome) -> bool:
    """Tell whether :func:`explanation` adds something to the line about *outcome*."""
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


def explanation(task_id: str, outcome: Outcome, info: RunInfo, others: int = 0) -> list[str]:
    """Return the lines that follow the one about the end of *task_id*.

    *others* is the number of other running tasks.
    """
    if not isinstance(outcome, Exited | OverMemory | TimedOut):
        return []
    crash_info = outcome.crash_info or CrashInfo()
    sentences = [
        *_memory(outcome, crash_info),
        *_usual(outcome, crash_info),
        *_others(others if info.isolated else 0),
    ]
    lines = textwrap.wrap(" ".join(sentences), _WIDTH - 2)
    lines += _advice(outcome, crash_info, info.slots())
    lines += _labelled("it was in", _frames(crash_info.traceback))
    lines += _labelled("last output", _output(crash_info.last_output))
    for label, command in (
        ("see", info.logs_command(task_id)),
        ("run it alone", info.debug_command(task_id)),
    ):
        if command is not None:
            lines += _labelled(label, [safe(command, 1000), *note_on(command)])
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
    """Return the usual cause of such a death."""
    if not isinstance(outcome, Exited) or outcome.exit_code is None:
        return []
    if outcome.hint is not None and "memory" in outcome.hint:
        return ["The machine was out of memory, and the kernel ended it."]
    if _ran_out(outcome, crash_info):
        return ["Probably the machine was out of memory."]
    if outcome.hint is not None:
        return []  # the line above has the cause
    try:
        return [_USUAL[signal.Signals(-outcome.exit_code)]]
    except (KeyError, ValueError):
        return []


def _ran_out(outcome: Outcome, crash_info: CrashInfo) -> bool:
    """Tell whether the machine was probably out of memory."""
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
    """Return the innermost frames of a traceback of faulthandler or Python, innermost first."""
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
