"""Define the frames that a worker and a child process exchange over their private socket.

A frame is a head and a body. The head carries a cookie that the child got at its start, so that a
task that writes into descriptors it does not own can forge nothing.

Worker to child::

    BOOT     the boot message, pickled (see pool/processes.py)
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

A task that was sent ahead needs a permit: one count of an eventfd that worker and child share. The
worker recalls tasks by taking permits back; the child skips a task for which it finds none.

Only bytes and JSON travel towards the worker, which unpickles nothing that a task has made.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

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
) = range(1, 11)  # fmt: skip
#: The kinds of frames that end a task.
REPLIES = frozenset((DONE, RAISED, EXITING))

#: Variable in the environment of every child, ``RUN.SERIAL``: processes that a child leaves behind
#: inherit it, and are found by it.
MARK = "CLOUD_TASKS_CHILD"


def frame(cookie: bytes, kind: int, body: bytes) -> bytes:
    """Return *body* behind its head."""
    return HEAD.pack(cookie, kind, len(body)) + body
