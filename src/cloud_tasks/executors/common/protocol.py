"""The words that a worker and a child exchange over their private socket.

A frame is a head and a body. The head carries a token that the child was told at its start, so
that a task that writes into descriptors it does not own forges nothing.

Parent to child::

    BOOT     pickle of a boot dictionary (see child.py)
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
    from typing import TypeAlias

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
