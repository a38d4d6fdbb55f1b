"""Logging in the processes of a run: the handler of last resort, and whose record it is."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

#: Talk to a person: its lines stand as they are.
CONSOLE = "cloud_tasks.console"
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_CLOCK = "%H:%M:%S"


class Formatter(logging.Formatter):
    """One line a record, with the task that it came from, but for what is said to a person."""

    def __init__(self) -> None:
        super().__init__(_LINE, _CLOCK)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of *record*."""
        if record.name != CONSOLE:
            return super().format(record)
        clock = f"{self.formatTime(record, _CLOCK)} " if getattr(record, "timed", False) else ""
        return f"{clock}{record.getMessage()}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        """Return the first line."""
        task_id = getattr(record, "task_id", None)
        if task_id is None:
            return super().formatMessage(record)
        name = str(task_id)
        if not name.isprintable():
            from cloud_tasks.text import safe  # not at the top: child processes import us

            name = safe(name, len(name))
        where = f"{record.levelname} {record.name} [{name}]"
        return f"{record.asctime} {where}: {record.message}"


def stderr_handler() -> logging.Handler:
    """Return a new handler to stderr that writes our lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter())
    return handler


def add_root_handler(level: int) -> logging.Handler:
    """Add a handler to stderr, set the root's level to *level*, return the handler."""
    handler = stderr_handler()
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    return handler


def plan_for_children(log_level: int | None) -> dict[str, Any] | None:
    """Say how the children of this process shall log; plain data, for ``log_sender.set_up``.

    Where this process has a configuration, its levels hold there as well, so that no child
    sends what nobody wants; else *log_level* does. None: leave the children alone.
    """
    if log_level is None:
        return None
    root = logging.getLogger()
    if not root.handlers:
        return {"level": log_level, "levels": {}, "disable": 0}
    known = list(root.manager.loggerDict.items())
    return {
        "level": root.level,
        "levels": {
            name: logger.level
            for name, logger in known
            if isinstance(logger, logging.Logger) and logger.level
        },
        "disable": root.manager.disable,
    }


@contextlib.contextmanager
def stamped(task_id: str, slot: int) -> Iterator[None]:
    """Give the records that the body makes ``task_id`` and ``slot``, in this process.

    A record of another thread counts if the thread began in the body. The record factory that
    was there makes the records; one that the body has set stays.
    """
    me = threading.get_ident()
    others = {thread.ident for thread in threading.enumerate()} - {me}
    inner = logging.getLogRecordFactory()
    over = False

    def factory(*args: Any, **keywords: Any) -> logging.LogRecord:
        record = inner(*args, **keywords)
        if not over and threading.get_ident() not in others:
            record.task_id = task_id
            record.slot = slot
        return record

    logging.setLogRecordFactory(factory)
    try:
        yield
    finally:
        over = True
        if logging.getLogRecordFactory() is factory:
            logging.setLogRecordFactory(inner)
