"""Turn a child's reply or exit into the outcome of its job.

::

    reply ──► from_reply ──► Completed, Raised, Exited
    death ──► after_death ──► Exited, TimedOut, OverMemory, Aborted, with measures and crash info
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.call import NOT_MEASURED, Reply
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

    Raises:
        ValueError: our code in the child did not write it.
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
    if kind == protocol.DONE:
        if b"\n" in rest:
            # The encoder never writes one: the task has tampered with it.
            return Raised("BadResult", "the result is not one line of JSON", "", measures), retire
        return Completed(retry, rest, measures, replaced_nan), retire
    if kind == protocol.RAISED:
        exc_type, message, traceback = json.loads(rest)
        if not all(type(text) is str for text in (exc_type, message, traceback)):
            raise ValueError("the description of an exception is not text")
        return Raised(exc_type, message, traceback, measures), retire
    return Exited(int(rest), None, measures), retire


def reply_outcome(reply: Reply, slot: int | None, elapsed: float) -> Outcome:
    """Turn the *reply* of a call in this process into an outcome.

    Args:
        reply: as ``call`` returned it.
        slot: that ran the task; None if there are no slots.
        elapsed: seconds from the assignment of the task to its end.
    """
    times = reply.started, reply.run_time, reply.cpu_time, NOT_MEASURED
    head = (0, reply.retry, reply.replaced_nan, False, *times)
    return from_reply(reply.kind, head, reply.body, slot, elapsed)[0]


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
