"""Set up logging in the processes of a run, and add the task to the records of tasks.

A child imports this only once its task has imported logging, see child/import_hook.py.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Any

from cloud_tasks.masking import masked

#: The logger of sentences for a person, which are printed without level and logger name.
CONSOLE = "cloud_tasks.console"
_CLOCK = "%H:%M:%S"
#: The loggers of this package. Their names mean nothing to a user.
_OURS = "cloud_tasks"


class Formatter(logging.Formatter):
    """Format a record as one line with the id of its task, if any; a traceback follows.

    A record of CONSOLE is its message only. ::

        12:00:00 warning: 1 task has other data than when last run       (a logger of ours)
        12:00:00 WARNING mymodule [task-0042]: the text                  (any other)
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s", _CLOCK)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of *record*, its traceback included; secrets only if a task wrote it."""
        if record.name == CONSOLE:
            timed = getattr(record, "timed", False)
            text = f"{self.formatTime(record, _CLOCK)} " if timed else ""
            text += record.getMessage()
        else:
            text = super().format(record)
        return masked(text) if getattr(record, "task_id", None) is None else text

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        """Return the first line of *record*."""
        ours = record.name.partition(".")[0] == _OURS
        who = record.levelname.lower() if ours else f"{record.levelname} {record.name}"
        task_id = getattr(record, "task_id", None)
        where = "" if task_id is None else f" [{_on_one_line(str(task_id))}]"
        return f"{record.asctime} {who}{where}: {record.message}"


def _on_one_line(text: str) -> str:
    """Write control characters and line ends as escapes, for a terminal."""
    if text.isprintable():
        return text
    from cloud_tasks.text import safe  # not at the top, because child processes import this module

    return safe(text, len(text))


def stderr_handler() -> logging.Handler:
    """Return a new handler that writes our lines to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter())
    return handler


def add_root_handler(level: int) -> logging.Handler:
    """Add a handler to stderr to the root logger, set its level to *level*; return the handler."""
    handler = stderr_handler()
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    return handler


def plan_for_children(log_level: int | None) -> dict[str, Any] | None:
    """Return plain data for ``log_sender.set_up``: how the children of this process shall log.

    If the root logger of this process has handlers, its levels hold in children as well, so that
    they send no record that would be dropped here; else *log_level* does. None: leave logging in
    children alone.
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
def task_records(task_id: str, slot: int) -> Iterator[None]:
    """Add ``task_id`` and ``slot`` to the records that the body makes, in this process.

    Records of another thread count if the thread began in the body. The record factory that was
    set before makes the records; one that the body sets stays.
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
