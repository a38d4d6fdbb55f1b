"""The child's side of the log channel: a handler that sends each record to the worker.

A record is one datagram of JSON, so that it arrives whole or not at all, whoever else sends and
however the sender ends. Sending waits while the worker has too many records to handle: it is the
task that logs who waits. But it does not wait for ever: if the worker's handlers are stuck, the
records go to stderr until they are not.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import time

from cloud_tasks.executors.child.socket_end import identity
from cloud_tasks.executors.common import log_setup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloud_tasks.executors.child.main import RunningTask

#: Bytes of the longest datagram that is tried; some platforms allow less.
MAX_BYTES = 60_000
#: No text is cut to fewer characters.
_SHORTEST = 50
#: Seconds until the next try where a full channel is an error and not a wait.
_PAUSE = 0.002
#: Seconds that a record waits for room in a full channel.
_PATIENCE = 30.0
#: A task may have replaced it in its module.
_clock = time.monotonic
_FULL = (errno.ENOBUFS, errno.EAGAIN)

_COPIED = (
    "name", "levelno", "levelname", "pathname", "lineno", "funcName", "created", "msecs",
    "thread", "threadName", "process", "processName",
)  # fmt: skip
#: What logging itself puts into a record; the rest is the user's ``extra``.
_OWN = frozenset(
    {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "task_id", "slot"}
)
#: What the user's main program is called in the worker, and in a child, see ``main_module``.
_MAIN, _MAIN_HERE = "__main__", "__mp_main__"
#: Their end says more than their beginning.
_ENDS = ("exc_text", "stack_info")

_encode = json.JSONEncoder(default=str).encode
_format_exception = logging.Formatter().formatException


def set_up(plan: dict[str, Any] | None, descriptor: int | None, running: RunningTask) -> None:
    """Configure logging in this child, unless the user's own program has done it.

    Args:
        plan: see ``logs.plan_for_children``.
        descriptor: the sending end of the worker's channel; None: records go to stderr.
        running: tells whose records they are.
    """
    root = logging.getLogger()
    if plan is None or root.handlers:
        return
    for name, level in plan["levels"].items():
        logging.getLogger(_renamed(name, _MAIN, _MAIN_HERE)).setLevel(level)
    if plan["disable"]:
        logging.disable(plan["disable"])
    if descriptor is None:
        log_setup.add_root_handler(plan["level"])
    else:
        root.addHandler(SendingHandler(descriptor, running))
        root.setLevel(plan["level"])


class SendingHandler(logging.Handler):
    """Sends records through *descriptor*; to stderr where that can't be done any more.

    Args:
        descriptor: the sending end of the worker's channel.
        running: tells whose records they are.
        patience: seconds that a record waits for room. The next ones then wait no more, until
            there is some.
    """

    def __init__(self, descriptor: int, running: RunningTask, patience: float = _PATIENCE) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._patience = patience
        self._stuck = False
        self._identity = identity(descriptor)
        self._running = running
        self._last_resort = log_setup.stderr_handler()

    def emit(self, record: logging.LogRecord) -> None:
        """Send *record*; may wait for the worker, but not for ever."""
        try:
            content = _content(record, self._running)
            payload = encode(content)
        except Exception:  # noqa: BLE001 - the user's classes make the message
            self.handleError(record)
            return
        self._stuck = self._stuck and not self._has_room()
        limit = len(payload)
        while self._stuck or not self._send(payload):
            limit //= 2
            if self._stuck or limit < _SHORTEST:
                self._say_here(record, content)
                return
            payload = encode(content, limit)

    def _has_room(self) -> bool:
        import select

        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))

    def _send(self, payload: bytes) -> bool:
        """Send it; False if it could not be sent in this length, or at all."""
        begun = _clock()
        while True:
            try:
                # A task that closes what it did not open may have a file of its own there.
                if identity(self._descriptor) != self._identity:
                    return False
                os.write(self._descriptor, payload)
            except OSError as error:
                if error.errno is None:
                    raise  # by a signal handler of the task's, while we waited
                self._stuck = error.errno in _FULL and _clock() - begun >= self._patience
                if self._stuck or error.errno not in _FULL:
                    return False
                time.sleep(_PAUSE)
            else:
                return True

    def _say_here(self, record: logging.LogRecord, content: dict[str, Any]) -> None:
        record.task_id, record.slot = content["task_id"], content["slot"]
        self._last_resort.handle(record)


def _content(record: logging.LogRecord, running: RunningTask) -> dict[str, Any]:
    fields = record.__dict__
    content = {name: fields[name] for name in _COPIED}
    content["name"] = _renamed(record.name, _MAIN_HERE, _MAIN)
    content["msg"] = record.getMessage()
    content["exc_text"] = record.exc_text
    if record.exc_info and not record.exc_text:
        content["exc_text"] = _format_exception(record.exc_info)
    content["stack_info"] = record.stack_info
    content["task_id"] = running.task_id
    content["slot"] = running.slot
    extra = fields.keys() - _OWN
    if extra:
        content["extra"] = {name: _plain(fields[name]) for name in extra}
    return content


def _renamed(name: str, old: str, new: str) -> str:
    return new + name[len(old) :] if name.partition(".")[0] == old else name


def _plain(value: Any) -> Any:
    if value is None or type(value) in (str, int, float, bool):
        return value
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - the user's class: the record is worth more
        return f"({type(value).__name__})"


def encode(content: dict[str, Any], limit: int = MAX_BYTES) -> bytes:
    """Return JSON of *content*, in *limit* bytes if cutting texts can do it.

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
    if name in _ENDS:
        return f"{left_out}\n{value[-longest:]}"
    return f"{value[:longest]}\n{left_out}"
