"""The worker's side of the log channel: records of tasks, under the worker's configuration.

All children of a pool share the sending end of one socket, see ``log_sender``. A thread of its
own hands each record to the logger of its name, as if it had been made here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os.path
import socket
import struct
import threading
from typing import Any

from cloud_tasks.executors.base import ExecutorOptions

logger = logging.getLogger(__name__)

#: More than the longest datagram; what is longer was not sent by us, and is no JSON once cut.
_BUFFER = 2**16
#: So long a sender waits at a stretch: a C ``timeval``. How often, is the sender's affair.
_A_SECOND = struct.pack("@ll", 1, 0)
#: What a datagram may say of its record, and the types that logging relies on.
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "levelno": int, "levelname": str, "msg": str, "pathname": str, "lineno": int,
    "funcName": str, "created": (int, float), "msecs": (int, float), "thread": int,
    "threadName": str, "process": int, "processName": str, "exc_text": str, "stack_info": str,
}  # fmt: skip
_NEEDED = ("name", "levelno", "msg")
#: ``extra`` must not replace what logging itself relies on.
_OWN = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})
#: Seconds since 1970, in the year 3000: no platform's calendar ends before.
_LAST_MOMENT = 32_503_680_000


class LogChannel:
    """A socket for the records of a pool's children, and the thread that handles them.

    Args:
        patience: seconds that ``join`` waits for a handler that gets nowhere.

    Raises:
        OSError: no descriptor is to be had.
    """

    def __init__(self, patience: float = 10.0) -> None:
        self._patience = min(patience, threading.TIMEOUT_MAX)
        self._handled = 0
        self._target: logging.Logger | None = None
        self._receiver, self._sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):  # where the default is less than a record may have
            if self._sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * _BUFFER:
                self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _BUFFER)
                self._receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _BUFFER)
        with contextlib.suppress(OSError):  # where the kernel has another notion of time
            self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _A_SECOND)
        self._ending = False
        self._end_lock = threading.Lock()
        self._complained: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="cloud_tasks-logs", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return the sending end, for children to inherit."""
        return self._sender.fileno()

    def end(self) -> None:
        """Let the thread handle what was sent and then end; never blocks."""
        with self._end_lock:
            if self._ending:
                return
            self._ending = True
            with contextlib.suppress(OSError):  # full: it has something to wake up for
                self._sender.send(b"", socket.MSG_DONTWAIT)

    def join(self) -> None:
        """Wait until every record has been handled and the socket is closed; after ``end``.

        Gives up on a handler that has not been through with a single record for too long: no
        run hangs for the sake of what it logs.
        """
        if threading.current_thread() is self._thread:  # a handler may shut a pool down
            return
        before = -1
        while self._thread.is_alive() and self._handled != before:
            before = self._handled
            self._thread.join(self._patience)
        if self._thread.is_alive() and self._target is not None:
            _unlock_handlers(self._target)

    def _work(self) -> None:
        with self._receiver, self._sender:
            while not self._ending:
                self._handle(self._receiver.recv(_BUFFER))
            with self._end_lock:  # nobody else uses the socket any more
                # What a task has left behind may still send: now it is refused.
                self._sender.shutdown(socket.SHUT_RDWR)
            self._receiver.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    self._handle(self._receiver.recv(_BUFFER))

    def _handle(self, datagram: bytes) -> None:
        self._handled += 1
        if not datagram:
            return
        try:
            record = decode(datagram)
        except Exception as error:  # noqa: BLE001 - a task may have sent it, whatever it is
            self._complain("a child process sent something that is no log record: %r", error)
            return
        try:
            self._target = target = find_logger(record.name)
            if target.isEnabledFor(record.levelno):
                target.handle(record)
        except BaseException as error:  # noqa: BLE001 - the user's handlers; one may even exit
            self._complain("a log record of a task could not be handled: %r", error)

    def _complain(self, text: str, error: BaseException) -> None:
        if text in self._complained:
            return
        self._complained.add(text)
        with contextlib.suppress(BaseException):  # by the same handlers
            logger.warning(f"{text}; it is dropped, and what follows of this kind", error)


def _unlock_handlers(target: logging.Logger) -> None:
    """Give the handlers of *target* that are stuck a new lock: logging takes it at the exit."""
    above: logging.Logger | None = target
    while above is not None:
        for handler in above.handlers:
            lock = handler.lock
            if lock is not None and not lock.acquire(blocking=False):
                handler.createLock()
            elif lock is not None:
                lock.release()
        above = above.parent if above.propagate else None


def open_channel(options: ExecutorOptions) -> LogChannel | None:
    """Open a channel if this process has handlers, and takes the records of its children.

    Raises:
        OSError: no descriptor is to be had.
    """
    wanted = options.log_level is not None and options.task_logs is None
    if not wanted or not logging.getLogger().handlers:
        return None
    return LogChannel(options.exit_grace)


def decode(datagram: bytes) -> logging.LogRecord:
    """Make a record from what a child sent.

    Raises:
        ValueError: it is no record.
    """
    content = json.loads(datagram)
    if not isinstance(content, dict):
        raise ValueError("no object")  # noqa: TRY004 - one error for all that is no record
    extra = content.get("extra")
    fields: dict[str, Any] = {}
    if isinstance(extra, dict):
        fields.update((name, value) for name, value in extra.items() if name not in _OWN)
    for name, kind in _FIELDS.items():
        if isinstance(content.get(name), kind):
            fields[name] = content[name]
    missing = [name for name in _NEEDED if name not in fields]
    if missing:
        raise ValueError(f"no {missing[0]}")
    if not 0 <= fields.get("created", math.nan) <= _LAST_MOMENT:
        fields.pop("created", None)
    fields["task_id"] = content.get("task_id")
    fields["slot"] = content.get("slot")
    if "pathname" in fields:
        fields["filename"] = os.path.basename(fields["pathname"])  # noqa: PTH119 - as logging does
        fields["module"] = os.path.splitext(fields["filename"])[0]  # noqa: PTH122
    return logging.makeLogRecord(fields)


def find_logger(name: str) -> logging.Logger:
    """Return the logger *name*; if nobody has asked for it here, one that is not remembered.

    logging keeps every logger for ever, and tasks may well have one each.
    """
    root = logging.getLogger()
    known = root.manager.loggerDict
    found = known.get(name)
    if isinstance(found, logging.Logger):
        return found
    if name == root.name:
        return root
    made = logging.Logger(name)
    made.parent = root
    while name:
        name = name.rpartition(".")[0]
        above = known.get(name)
        if isinstance(above, logging.Logger):
            made.parent = above
            break
    return made
