"""Following what a task prints while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from cloud_tasks.history.layout import Traces
from cloud_tasks.history.task_events import EndWatch
from cloud_tasks.history.task_logs import TaskLogs, Try

#: Seconds between two looks.
_PERIOD = 0.1
#: Seconds by which two times may differ that are written with six digits.
_ROUNDED = 2e-6


def follow(
    traces: Traces,
    logs: TaskLogs,
    task_id: str,
    write: Callable[[bytes], None],
    say: Callable[[str], None],
) -> None:
    """Pass on what the last try of a task prints, until it is over.

    It is over when its slot has begun another task, or the event of its end is in the log.
    Blocks until then; waits for a task that has not begun, unless its end is in the log.

    Args:
        traces: of the run.
        logs: of the run.
        task_id: of the task.
        write: takes the output.
        say: takes what a person is to be told.
    """
    try_ = _begun(traces, logs, task_id, say)
    if try_ is None:
        say("it has ended without a line in the task logs")
        return
    since = time.time() if try_.started is None else try_.started - _ROUNDED
    watch = EndWatch(traces.events, task_id, try_.slot, since)
    passed = 0
    while True:
        # First this, and then a last look: nothing is printed after the end.
        over = try_.is_closed() or watch.has_come()
        for piece in try_.output(passed):
            write(piece)
            passed += len(piece)
        if over:
            return
        time.sleep(_PERIOD)


def _begun(traces: Traces, logs: TaskLogs, task_id: str, say: Callable[[str], None]) -> Try | None:
    """Wait for the task to begin; None: it is over, and it never did."""
    watch = EndWatch(traces.events, task_id, None, 0.0)
    told = False
    while True:
        began = time.monotonic()
        # In this order: what began and ended in between is in the logs.
        ended = watch.has_come()
        tries = logs.tries(task_id)
        if tries:
            return tries[-1]
        if ended:
            return None
        if not told:
            without = "" if logs.exist else "; there are no task logs by now, see --task-logs"
            say(f"waiting for the task {task_id!r} to begin{without}")
            told = True
        # A search through many millions of entries must not take a core for itself.
        time.sleep(max(_PERIOD, 9 * (time.monotonic() - began)))
