"""Receive the log records of tasks, and log them under the worker's configuration.

All children of a pool share the sending end of one datagram socket, see ``child.log_sender``; each
datagram is a record as JSON. A thread reads them and passes each record to the logger of its name,
as if it had been made in the worker::

    task: logger.info() ─► log_sender ─► socket ─► LogReceiver ─► the worker's handlers

Datagrams are checked as foreign data: any process of a task can send one.
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
from cloud_tasks.system.shortage import start_thread

logger = logging.getLogger(__name__)

#: More than the longest datagram in bytes; a longer one is not ours, and no JSON once cut.
_BUFFER = 2**16
#: SO_SNDTIMEO of 1 s, a C ``timeval``; the sender decides how often to retry.
_SEND_TIMEOUT = struct.pack("@ll", 1, 0)
#: Attributes of a record that a datagram may set, and the types that logging relies on.
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str, "levelno": int, "levelname": str, "msg": str, "pathname": str, "lineno": int,
    "funcName": str, "created": (int, float), "msecs": (int, float), "thread": int,
    "threadName": str, "process": int, "processName": str, "exc_text": str, "stack_info": str,
}  # fmt: skip
_REQUIRED = ("name", "levelno", "msg")
#: Attributes that logging itself relies on; ``extra`` must not replace them.
_RESERVED = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime"})
#: Seconds since 1970, in the year 3000: no platform's calendar ends before.
_LAST_MOMENT = 32_503_680_000


class LogReceiver:
    """The log socket of a pool, and the thread that handles the records.

    Args:
        patience: seconds that ``join`` waits for a handler to be done with one record.

    Raises:
        OSError: no descriptor is to be had.
    """

    def __init__(self, patience: float = 10.0) -> None:
        self._patience = min(patience, threading.TIMEOUT_MAX)
        self._handled = 0
        self._target: logging.Logger | None = None
        self._receiver, self._sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):  # the default may be less than a record takes
            if self._sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * _BUFFER:
                self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _BUFFER)
                self._receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _BUFFER)
        with contextlib.suppress(OSError):  # a kernel with another timeval
            self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
        self._closing = False
        self._close_lock = threading.Lock()
        self._warned: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="cloud_tasks-logs", daemon=True)
        start_thread(self._thread)

    def fileno(self) -> int:
        """Return the descriptor of the sending end, for children to inherit."""
        return self._sender.fileno()

    def close(self) -> None:
        """Have the thread handle all that was sent and then end; never blocks."""
        with self._close_lock:
            if self._closing:
                return
            self._closing = True
            with contextlib.suppress(OSError):  # it is full, so the thread wakes up anyway
                self._sender.send(b"", socket.MSG_DONTWAIT)

    def join(self) -> None:
        """Wait, after ``close``, until every record is handled and the socket is closed.

        Gives up if no record has been handled for *patience* seconds, so that a handler that
        blocks can't keep the run from ending.
        """
        if threading.current_thread() is self._thread:  # a handler may call shutdown()
            return
        before = -1
        while self._thread.is_alive() and self._handled != before:
            before = self._handled
            self._thread.join(self._patience)
        if self._thread.is_alive() and self._target is not None:
            _unlock_handlers(self._target)

    def _work(self) -> None:
        try:
            self._receive_all()
        except BaseException:
            logger.exception("receiving the log records of tasks failed: further ones are lost")

    def _receive_all(self) -> None:
        with self._receiver, self._sender:
            while not self._closing:
                self._handle(self._receiver.recv(_BUFFER))
            with self._close_lock:  # close() uses the socket as well
                # Processes that a task has left behind may still send: refuse it from now on.
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
        except Exception as error:  # noqa: BLE001 - a task may send anything
            self._warn_once("a child process sent something that is no log record: %r", error)
            return
        try:
            self._target = target = find_logger(record.name)
            if target.isEnabledFor(record.levelno):
                target.handle(record)
        except BaseException as error:  # noqa: BLE001 - handlers are the user's code
            self._warn_once("a log record of a task could not be handled: %r", error)

    def _warn_once(self, text: str, error: BaseException) -> None:
        if text in self._warned:
            return
        self._warned.add(text)
        with contextlib.suppress(BaseException):  # the same handlers fail again
            logger.warning(f"{text}; it is dropped, and so are further ones of this kind", error)


def _unlock_handlers(target: logging.Logger) -> None:
    """Give blocked handlers of *target* a new lock, because logging takes it at exit."""
    above: logging.Logger | None = target
    while above is not None:
        for handler in above.handlers:
            lock = handler.lock
            if lock is not None and not lock.acquire(blocking=False):
                handler.createLock()
            elif lock is not None:
                lock.release()
        above = above.parent if above.propagate else None


def open_receiver(options: ExecutorOptions) -> LogReceiver | None:
    """Open a receiver if the worker has handlers and tasks shall log to them; else None.

    Raises:
        OSError: no descriptor is to be had.
    """
    requested = options.log_level is not None and options.task_logs is None
    if not requested or not logging.getLogger().handlers:
        return None
    return LogReceiver(options.exit_grace)


def decode(datagram: bytes) -> logging.LogRecord:
    """Return the log record that a child sent as *datagram*.

    Raises:
        ValueError: it is no record.
    """
    content = json.loads(datagram)
    if not isinstance(content, dict):
        raise ValueError("no object")  # noqa: TRY004 - one error for everything that is no record
    extra = content.get("extra")
    fields: dict[str, Any] = {}
    if isinstance(extra, dict):
        fields.update((name, value) for name, value in extra.items() if name not in _RESERVED)
    for name, kind in _FIELDS.items():
        if isinstance(content.get(name), kind):
            fields[name] = content[name]
    missing = [name for name in _REQUIRED if name not in fields]
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
    """Return the logger *name*; one that the worker does not have is made, and not kept.

    logging keeps loggers for ever, and each task may use one of its own.
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
