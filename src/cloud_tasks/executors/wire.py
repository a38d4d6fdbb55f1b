"""The words that a worker and a child exchange over their private socket.

A frame is a head and a body. The head carries a token that the child was told at its start, so
that a task that writes into descriptors it does not own forges nothing.

Parent to child::

    BOOT     pickle of a boot dictionary (see child.py)
    TASK     TASK_HEAD, pickle of (task_id, data)

Child to parent::

    READY    empty
    UNFIT    UTF-8: the child can't be made ready, why
    REFUSED  UTF-8: no child ever can, why
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

TOKEN_BYTES = 8

#: token, kind, length of the body
HEAD = struct.Struct("<8sBQ")
#: job number, whether it was sent ahead
TASK_HEAD = struct.Struct("<Q?")
#: job number, retry, replaced_nan, retire, started (epoch), run_time, cpu_time, max_rss_mb;
#: a figure that was not measured is NaN
REPLY_HEAD = struct.Struct("<Q???dddd")

BOOT, TASK, READY, UNFIT, REFUSED, DONE, RAISED, EXITING = range(1, 9)


def frame(token: bytes, kind: int, body: bytes) -> bytes:
    """Put a head before *body*."""
    return HEAD.pack(token, kind, len(body)) + body
