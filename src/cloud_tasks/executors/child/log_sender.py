"""Send the log records of a task to the worker: the child's side of pool/log_receiver.py.

    logger ──► SendingHandler ──► one datagram of JSON a record ──► the worker's handlers
                     └── the worker's handlers are stuck, or the socket is gone ──► stderr

A datagram arrives whole or not at all, whichever processes send at the same time and however the
sender ends. Sending blocks while the channel is full, so a task that logs faster than the worker
handles records waits; after 30 s without room its records go to stderr until there is some.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Callable

from cloud_tasks.executors.common import log_setup
from cloud_tasks.executors.common.worker_files import file_identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Bytes of the longest datagram that is tried; some platforms allow less.
MAX_BYTES = 60_000
#: Characters to which a text is cut at most, to fit into a datagram.
_SHORTEST = 50
#: Seconds until the next try on platforms where a full channel is an error, not a wait.
_PAUSE = 0.002
#: Seconds that a record waits for room in a full channel.
_PATIENCE = 30.0
#: Bound here, because a task may replace it in its module.
_clock = time.monotonic
_FULL = (errno.ENOBUFS, errno.EAGAIN)

_COPIED = (
    "name", "levelno", "levelname", "pathname", "lineno", "funcName", "created", "msecs",
    "thread", "threadName", "process", "processName",
)  # fmt: skip
#: Attributes of a record that logging itself sets; all others are the user's ``extra``.
_STANDARD = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "task_id", "slot"}
)
#: Names of the user's main program in the worker and in a child, see ``main_module``.
_MAIN, _MAIN_IN_CHILD = "__main__", "__mp_main__"
#: Texts that are cut at their beginning, because the end of a traceback says more.
_KEEP_END = ("exc_text", "stack_info")

_encode = json.JSONEncoder(default=str).encode
_format_exception = logging.Formatter().formatException


def set_up(
    plan: dict[str, Any], descriptor: int | None, slot: int, task_id: Callable[[], str | None]
) -> None:
    """Configure logging in this child, unless the user's own program has given root a handler.

    *plan*: see ``log_setup.plan_for_children``. Without a *descriptor* records go to stderr; the
    others are as in ``SendingHandler``.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    for name, level in plan["levels"].items():
        logging.getLogger(_rename_root(name, _MAIN, _MAIN_IN_CHILD)).setLevel(level)
    if plan["disable"]:
        logging.disable(plan["disable"])
    if descriptor is None:
        log_setup.add_root_handler(plan["level"])
    else:
        root.addHandler(SendingHandler(descriptor, slot, task_id))
        root.setLevel(plan["level"])


class SendingHandler(logging.Handler):
    """Send records through *descriptor*, or to stderr where that is not possible any more.

    Args:
        descriptor: the sending end of the worker's channel.
        task_id: returns the id of the task that runs, None between two tasks; called in the thread
            that logs.
        patience: seconds that a record waits for room. After one has waited in vain, the next
            ones go to stderr at once until there is room.
    """

    def __init__(
        self,
        descriptor: int,
        slot: int,
        task_id: Callable[[], str | None],
        patience: float = _PATIENCE,
    ) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._slot = slot
        self._task_id = task_id
        self._patience = patience
        self._stuck = False
        self._identity = file_identity(descriptor)
        self._stderr_handler = log_setup.stderr_handler()

    def emit(self, record: logging.LogRecord) -> None:
        """Send *record*; may block for *patience* seconds."""
        try:
            content = self._content(record)
            payload = encode(content)
        except Exception:  # noqa: BLE001 - the message is made by the user's classes
            self.handleError(record)
            return
        self._stuck = self._stuck and not self._has_room()
        limit = len(payload)
        while self._stuck or not self._send(payload):
            limit //= 2
            if self._stuck or limit < _SHORTEST:
                record.task_id, record.slot = content["task_id"], content["slot"]
                self._stderr_handler.handle(record)
                return
            payload = encode(content, limit)

    def _content(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = record.__dict__
        content = {name: fields[name] for name in _COPIED}
        content["name"] = _rename_root(record.name, _MAIN_IN_CHILD, _MAIN)
        content["msg"] = record.getMessage()
        content["exc_text"] = record.exc_text
        if record.exc_info and not record.exc_text:
            content["exc_text"] = _format_exception(record.exc_info)
        content["stack_info"] = record.stack_info
        content["task_id"] = self._task_id()
        content["slot"] = self._slot
        extra = fields.keys() - _STANDARD
        if extra:
            content["extra"] = {name: _plain(fields[name]) for name in extra}
        return content

    def _has_room(self) -> bool:
        import select

        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def _send(self, payload: bytes) -> bool:
        """Send *payload*; False if it is too long for the platform, or can't be sent at all."""
        begun = _clock()
        while True:
            try:
                # A task may have closed the descriptor and got its number for a file of its own.
                if file_identity(self._descriptor) != self._identity:
                    return False
                os.write(self._descriptor, payload)
            except OSError as error:
                if error.errno is None:
                    raise  # by a signal handler of the task's, while this waited
                self._stuck = error.errno in _FULL and _clock() - begun >= self._patience
                if self._stuck or error.errno not in _FULL:
                    return False
                time.sleep(_PAUSE)
            else:
                return True


def _rename_root(name: str, old: str, new: str) -> str:
    """Replace the first part of a logger's dotted *name* if it is *old*."""
    return new + name[len(old) :] if name.partition(".")[0] == old else name


def _plain(value: Any) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - the user's class; the record matters more than this value
        return f"({type(value).__name__})"


def encode(content: dict[str, Any], limit: int = MAX_BYTES) -> bytes:
    """Return JSON of *content*, in at most *limit* bytes if cutting texts achieves that.

    ``extra`` goes first. Of a message the beginning stays, of a traceback the end.
    """
    payload = _encode(content).encode()
    longest = limit
    while len(payload) > limit and longest > _SHORTEST:
        longest //= 2
        short = {name: _cut(name, value, longest) for name, value in content.items()}
        short.pop("extra", None)
        payload = _encode(short).encode()
    return payload


def _cut(name: str, value: Any, longest: int) -> Any:
    if not isinstance(value, str) or len(value) <= longest:
        return value
    left_out = f"… {len(value) - longest:,} characters left out …"
    if name in _KEEP_END:
        return f"{left_out}\n{value[-longest:]}"
    return f"{value[:longest]}\n{left_out}"
