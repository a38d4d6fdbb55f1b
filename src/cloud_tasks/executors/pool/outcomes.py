"""From a child's reply, or its silence, to an outcome."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from cloud_tasks.executors.common import protocol
from cloud_tasks.outcome import (
    Completed,
    CrashInfo,
    Exited,
    Measures,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)


def from_reply(
    kind: int, head: protocol.ReplyHead, rest: bytes, slot: int | None, elapsed: float
) -> tuple[Outcome, bool]:
    """Turn a reply into an outcome; the second value: the child wants to be replaced.

    Args:
        kind: ``wire.DONE``, ``wire.RAISED`` or ``wire.EXITING``.
        head: what ``wire.REPLY_HEAD`` unpacks.
        rest: what follows it.
        slot: which ran it.
        elapsed: seconds since the slot was given.
    """
    _, retry, replaced_nan, retire, started, run_time, cpu_time, peak = head
    if run_time > elapsed:
        # It waited in the child, and began before the parent knew that the one before was over.
        elapsed = run_time
    # A figure that was not measured is NaN, which is all that is not equal to itself.
    measures = Measures(
        slot,
        elapsed,
        started if started == started else None,
        run_time if run_time == run_time else None,
        cpu_time if cpu_time == cpu_time else None,
        peak if peak == peak else None,
    )
    return reply_outcome(kind, rest, retry, replaced_nan, measures), retire


def reply_outcome(
    kind: int, body: bytes, retry: bool, replaced_nan: bool, measures: Measures
) -> Outcome:
    """Build the outcome that *kind* stands for; *body* as in ``call.Reply``."""
    if kind == protocol.DONE:
        if b"\n" in body:
            # The encoder never writes one: the task has tampered with it.
            return Raised("BadResult", "the result is not one line of JSON", "", measures)
        return Completed(retry, body, measures, replaced_nan)
    if kind == protocol.RAISED:
        exc_type, message, traceback = json.loads(body)
        return Raised(exc_type, message, traceback, measures)
    return Exited(int(body), None, measures)


def after_death(
    verdict: Outcome,
    slot: int,
    given: float,
    started: float | None,
    crash_info: CrashInfo | None = None,
) -> Outcome:
    """Complete *verdict* with what can be known of a task whose process is dead.

    Args:
        verdict: what became of it.
        slot: which ran it.
        given: when the slot was given, monotonic.
        started: when the function was called, the same clock; None: it was not.
        crash_info: what the process left behind.
    """
    now = time.monotonic()
    if isinstance(verdict, Exited | TimedOut | OverMemory):
        verdict = replace(verdict, crash_info=crash_info)
    if started is None:
        return replace(verdict, measures=Measures(slot, now - given))
    run_time = now - started
    return replace(verdict, measures=Measures(slot, now - given, time.time() - run_time, run_time))
