"""Follow the output of a task while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from cloud_tasks.history.layout import RunFiles
from cloud_tasks.history.task_events import EndWatch
from cloud_tasks.history.task_logs import LoggedAttempt, TaskLogs

#: Seconds between two looks at the files.
_PERIOD = 0.1
#: Seconds by which two times that are written with six digits may differ from each other.
_ROUNDED = 2e-6


def follow(
    run_files: RunFiles,
    logs: TaskLogs,
    task_id: str,
    write: Callable[[bytes], None],
    notify: Callable[[str], None],
) -> None:
    """Write what the last attempt of a task prints until the attempt is over; blocks.

    It is over when its slot has begun another task, or the event of its end is in the log. Waits
    for a task that has not begun, unless the event log has its end. *notify* prints a sentence.
    """
    attempt = _wait_for_begin(run_files, logs, task_id, notify)
    if attempt is None:
        notify("it has ended without a line in the task logs")
        return
    since = time.time() if attempt.started is None else attempt.started - _ROUNDED
    watch = EndWatch(run_files.events, task_id, attempt.slot, since)
    written = 0
    while True:
        # The end is checked first, and then the output read, because nothing is printed after it.
        over = attempt.is_closed() or watch.has_come()
        for piece in attempt.output(written):
            write(piece)
            written += len(piece)
        if over:
            return
        time.sleep(_PERIOD)


def _wait_for_begin(
    run_files: RunFiles, logs: TaskLogs, task_id: str, notify: Callable[[str], None]
) -> LoggedAttempt | None:
    """Return the task's last attempt once there is one; None: the task ended without any."""
    watch = EndWatch(run_files.events, task_id, None, 0.0)
    notified = False
    while True:
        looked = time.monotonic()
        # In this order: what began and ended in between is in the logs.
        ended = watch.has_come()
        attempts = logs.attempts(task_id)
        if attempts:
            return attempts[-1]
        if ended:
            return None
        if not notified:
            without = "" if logs.exist else "; there are no task logs by now, see --task-logs"
            notify(f"waiting for the task {task_id!r} to begin{without}")
            notified = True
        # A search through many millions of entries must not keep a core busy.
        time.sleep(max(_PERIOD, 9 * (time.monotonic() - looked)))
