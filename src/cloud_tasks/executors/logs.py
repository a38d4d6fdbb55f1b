"""The handler that a root logger gets, in the worker and its children, where it has none."""

from __future__ import annotations

import logging

#: Talk to a person: its lines stand as they are.
CONSOLE = "cloud_tasks.console"
_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_CLOCK = "%H:%M:%S"


class _Formatter(logging.Formatter):
    """One line a record, but for what is said to a person."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name != CONSOLE:
            return super().format(record)
        clock = f"{self.formatTime(record, _CLOCK)} " if getattr(record, "timed", False) else ""
        return f"{clock}{record.getMessage()}"


def add_root_handler(level: int) -> logging.Handler:
    """Add a handler to stderr, set the root's level to *level*, return the handler."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(_LINE, _CLOCK))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    return handler
