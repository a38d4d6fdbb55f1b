"""Define the frames that a worker and a child process exchange over their private socket.

A frame is a head and a body. The head carries a cookie that the child got at its start, so that a
task that writes into descriptors it does not own can forge nothing.

Worker to child::

    BOOT     a BootMessage, pickled
    TASK     TASK_HEAD, (task_id, data) pickled
    AHEAD    the same, sent while an earlier task may still run

Child to worker::

    READY            empty: booted, tasks may come
    BOOT_FAILED      UTF-8: the traceback of the failure; another try may succeed
    BOOT_IMPOSSIBLE  UTF-8: the configuration error that would meet every child
    WARNING          UTF-8: a sentence for the user
    DONE             REPLY_HEAD, the result as JSON
    RAISED           REPLY_HEAD, JSON of [type, message, traceback]
    EXITING          REPLY_HEAD, the exit code in decimal: the process ends now
    SIGNALLED        empty: a stop signal reached the running task's process, and the worker as well

A task that was sent ahead needs a permit: one count of an eventfd that worker and child share. The
worker recalls tasks by taking permits back; the child skips a task for which it finds none.

Only bytes and JSON travel towards the worker, which unpickles nothing that a task has made.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from cloud_tasks.executors.common.worker_files import WorkerFile

COOKIE_BYTES = 8

#: cookie, kind, length of the body in bytes
HEAD = struct.Struct("<8sBQ")
#: job number
TASK_HEAD = struct.Struct("<Q")
#: job number, retry, replaced_nan, retire, started (seconds since the epoch), run_time and cpu_time
#: (seconds), peak memory (MiB); a figure that was not measured is NaN
REPLY_HEAD = struct.Struct("<Q???dddd")
ReplyHead: TypeAlias = "tuple[int, bool, bool, bool, float, float, float, float]"

(
    BOOT, TASK, AHEAD, READY, BOOT_FAILED, BOOT_IMPOSSIBLE, DONE, RAISED, EXITING, WARNING,
    SIGNALLED,
) = range(1, 12)  # fmt: skip
#: The kinds of frames that end a task.
REPLIES = frozenset((DONE, RAISED, EXITING))

#: Seconds that may lie between the arrivals of one stop signal in a child and in the worker.
STOP_PATIENCE = 2.0

#: Variable in the environment of every child, ``RUN.SERIAL``: processes that a child leaves behind
#: inherit it, and are found by it.
MARK = "CLOUD_TASKS_CHILD"


def frame(cookie: bytes, kind: int, body: bytes) -> bytes:
    """Return *body* behind its head."""
    return HEAD.pack(cookie, kind, len(body)) + body


class BootMessage:
    """The first message to a child: its function, worker_data and settings. Sent pickled.

    A plain class, because importing dataclasses or typing costs a fresh process 3 ms or more.

    Attributes:
        slot: index of the child's slot: its cell of the flag page, its task log.
        sys_path, argv: of the worker, to become the child's own.
        function, worker_data: pickled; unpickled once in each child.
        authkey: of multiprocessing, which lets children talk to a manager of the worker; None: the
            worker does not use multiprocessing.
        main: how the child finds the main program, see ``main_module``; None: it can't.
        crash_file: file for crash tracebacks, see ``flag_page``.
        lifeline: pipe that closes when the worker ends, see ``child.lifeline``.
        tracker: pipe to the resource tracker, see ``child.tracker``.
        reused: the child runs task after task; else it ends after one.
        max_result_bytes: a longer result is a failure of its task; 0: no limit.
        retire_above: resident bytes above which a reused child asks to be replaced; 0: never.
        logging: see ``log_setup.plan_for_children``; None: leave logging alone.
        task_logs: folder of task logs; None: there are none.
    """

    def __init__(
        self,
        slot: int,
        *,
        sys_path: list[str],
        argv: list[str],
        authkey: bytes | None,
        function: bytes,
        worker_data: bytes,
        main: tuple[str, str] | None,
        crash_file: WorkerFile,
        lifeline: WorkerFile,
        tracker: WorkerFile,
        reused: bool,
        max_result_bytes: int,
        retire_above: int,
        logging: dict[str, Any] | None,
        task_logs: str | None,
    ) -> None:
        self.slot = slot
        self.sys_path = sys_path
        self.argv = argv
        self.authkey = authkey
        self.function = function
        self.worker_data = worker_data
        self.main = main
        self.crash_file = crash_file
        self.lifeline = lifeline
        self.tracker = tracker
        self.reused = reused
        self.max_result_bytes = max_result_bytes
        self.retire_above = retire_above
        self.logging = logging
        self.task_logs = task_logs
