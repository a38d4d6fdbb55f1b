"""The words that a worker and a child exchange over their private socket.

A frame is a head and a body. The head carries a token that the child was told at its start, so
that a task that writes into descriptors it does not own forges nothing.

Parent to child::

    BOOT     pickle of a BootMessage
    TASK     job number, pickle of (task_id, data)
    AHEAD    the same, sent while an earlier one may still run

Child to parent::

    READY    empty
    UNFIT    UTF-8: the child can't be made ready, why
    REFUSED  UTF-8: no child ever can, why
    WARNING  UTF-8: what its user should know
    DONE     REPLY_HEAD, result as JSON
    RAISED   REPLY_HEAD, JSON of [type, message, traceback]
    EXITING  REPLY_HEAD, decimal exit code: the process ends now

A task that is sent ahead, while another one runs, may be begun only by who takes a token for it,
one of an eventfd that parent and child share. The parent takes the tokens back to recall what was
not begun; the child skips a task for which it finds none.

Only bytes and JSON travel towards the parent: nothing that a task made is unpickled there.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

TOKEN_BYTES = 8

#: token, kind, length of the body
HEAD = struct.Struct("<8sBQ")
#: job number
TASK_HEAD = struct.Struct("<Q")
#: job number, retry, replaced_nan, retire, started (epoch), run_time, cpu_time, max_rss_mb;
#: a figure that was not measured is NaN
REPLY_HEAD = struct.Struct("<Q???dddd")
ReplyHead: TypeAlias = "tuple[int, bool, bool, bool, float, float, float, float]"

BOOT, TASK, AHEAD, READY, UNFIT, REFUSED, DONE, RAISED, EXITING, WARNING = range(1, 11)
#: What tells the end of a task.
ANSWERS = frozenset((DONE, RAISED, EXITING))


def frame(token: bytes, kind: int, body: bytes) -> bytes:
    """Put a head before *body*."""
    return HEAD.pack(token, kind, len(body)) + body


#: Set in the environment of every child, to its run and its serial, so that what it leaves behind
#: can be found.
MARK = "CLOUD_TASKS_CHILD"


class BootMessage:
    """All that a child is told before its first task. Pickled by the parent, as ``BOOT``.

    A plain class, because to import dataclasses or typing costs a fresh process 3 ms or more.

    Attributes:
        slot: index of the child's slot: its cell of the flag page, its task log.
        sys_path, argv: of the parent, to become the child's own.
        function, worker_data: pickled; unpickled once in each child.
        main: name and path of the parent's main program, see ``main_module``; None: not needed.
        flag_file: path of the flag page.
        reused: the child runs task after task; else it ends after one.
        max_result_bytes: a longer result is a failure of its task; 0: no limit.
        retire_above: resident bytes above which a reused child asks to be replaced; 0: never.
        logging: see ``log_setup.plan_for_children``; None: leave logging alone.
        task_logs: folder where the output of tasks is kept; None: it is not.
    """

    def __init__(
        self,
        slot: int,
        *,
        sys_path: list[str],
        argv: list[str],
        function: bytes,
        worker_data: bytes,
        main: tuple[str, str] | None,
        flag_file: str,
        reused: bool,
        max_result_bytes: int,
        retire_above: int,
        logging: dict[str, Any] | None,
        task_logs: str | None,
    ) -> None:
        self.slot = slot
        self.sys_path = sys_path
        self.argv = argv
        self.function = function
        self.worker_data = worker_data
        self.main = main
        self.flag_file = flag_file
        self.reused = reused
        self.max_result_bytes = max_result_bytes
        self.retire_above = retire_above
        self.logging = logging
        self.task_logs = task_logs
