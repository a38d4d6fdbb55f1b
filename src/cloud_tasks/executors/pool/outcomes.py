"""Turn a child's reply or exit into the outcome of its job.

::

    reply ──► from_reply ──► reply_outcome ──► Completed, Raised, Exited
    death ──► after_death ──► Exited, TimedOut, OverMemory, Aborted, with measures and crash info
"""

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
    """Turn a reply into an outcome; the second value: the child asks to be replaced.

    The reply is of *kind*, with *rest* behind its head, *elapsed* seconds after the assignment.
    """
    _, retry, replaced_nan, retire, started, run_time, cpu_time, peak = head
    if run_time > elapsed:
        # It waited in the child, and began before the pool had read the reply before it.
        elapsed = run_time
    # A figure that was not measured is NaN, the only value that differs from itself.
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
    """Return the outcome for a reply of *kind*; *body* as in ``call.Reply``."""
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
    outcome: Outcome,
    slot: int,
    assigned_at: float,
    started: float | None,
    crash_info: CrashInfo | None = None,
) -> Outcome:
    """Complete the *outcome* of a task whose process is dead, with measures and crash info.

    *assigned_at* is when the slot was assigned, monotonic, and *started* when the function was
    called, by the same clock; None: it was not.
    """
    now = time.monotonic()
    if isinstance(outcome, Exited | TimedOut | OverMemory):
        outcome = replace(outcome, crash_info=crash_info)
    if started is None:
        return replace(outcome, measures=Measures(slot, now - assigned_at))
    run_time = now - started
    measures = Measures(slot, now - assigned_at, time.time() - run_time, run_time)
    return replace(outcome, measures=measures)
