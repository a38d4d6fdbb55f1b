"""Write a run directory: each start and end of a worker, and the tasks that failed.

    record_start, record_end ──► runs.jsonl       one line each, the worker's main thread
    on_outcome (a failure)   ──► failures.jsonl   a task file, any thread

Other modules write the events and task logs beside them; :mod:`cloud_tasks.history.layout` names
all files. The lock on ``runs.jsonl`` keeps a second worker out of the directory. Others may cut or
remove both files during the run: a warning says so once each time, and ``runs.jsonl`` gets the
start again, without which its end would tell nothing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloud_tasks import __version__
from cloud_tasks.clock import Clock
from cloud_tasks.errors import EventLogError
from cloud_tasks.events.causes import cause_of
from cloud_tasks.events.records import data_digest, date_as_text
from cloud_tasks.history.layout import RunDir
from cloud_tasks.outcome import Aborted, Completed, Outcome
from cloud_tasks.system.append_file import LineFile
from cloud_tasks.task import Delivery
from cloud_tasks.timestamps import timestamp

logger = logging.getLogger(__name__)


class RunWriter:
    """The directory of one run. Called by one thread at a time, but for ``on_outcome``."""

    def __init__(self, path: str, clock: Clock) -> None:
        self._files = RunDir(path)
        self._clock = clock
        # It holds the command line and the settings, which concern nobody else.
        self._runs = LineFile(self._files.runs, private=True)
        self._failures = LineFile(self._files.failures)
        self._failures_lock = threading.Lock()
        self._start: bytes | None = None
        #: The disk refused a failed task, and the warning was logged.
        self._gave_up = False

    def open(self) -> None:
        """Make the directory if it is missing, and keep other workers out of it.

        Raises:
            EventLogError: it can't be written to, or another worker uses it.
        """
        try:
            Path(self._files.path).mkdir(parents=True, exist_ok=True)
            self._runs.open()
            self._runs.lock()
            self._failures.open()
        except BlockingIOError:
            self.close()
            raise EventLogError(
                f"another worker writes to the run directory {str(self._files.path)!r}: wait for "
                "its end, or choose another one with --run-dir"
            ) from None
        except OSError as error:
            self.close()
            name = "" if error.filename is None else f"{Path(error.filename).name}: "
            raise EventLogError(
                f"the run directory {str(self._files.path)!r} can't be written: "
                f"{name}{error.strerror or error}; choose another one with --run-dir"
            ) from error

    def record_start(self, details: Mapping[str, Any]) -> None:
        """Append a start; *details* are the command, the settings and all else that identifies it.

        A failure to write is logged, and the run goes on.
        """
        self._append_record(
            {
                "event": "start",
                "started": timestamp(self._clock.wall()),
                "cwd": _current_folder(),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "versions": _versions(),
                **details,
            }
        )

    def record_end(self, summary: Mapping[str, Any]) -> None:
        """Append the end of the run, with its *summary*. A failure to write is logged."""
        ended = timestamp(self._clock.wall())
        self._append_record(
            {"event": "end", "ended": ended, "pid": os.getpid(), "summary": summary}
        )

    def _append_record(self, record: Mapping[str, Any]) -> None:
        if not self._runs.is_open:
            return
        line = json.dumps(record, default=str).encode() + b"\n"
        before, self._start = self._start, self._start or line
        try:
            if _warn_of_harm(self._runs) and before is not None:
                self._runs.append(before)
            self._runs.append(line)
        except OSError as error:
            logger.warning("%s can't be written: %s", self._files.runs, error.strerror or error)

    def on_outcome(self, delivery: Delivery, outcome: Outcome) -> None:
        """Append a task that failed, with its data, as an entry of a task file. Any thread."""
        if isinstance(outcome, Completed | Aborted) or self._gave_up:
            return
        task = delivery.task
        entry = {
            "task_id": task.task_id,
            "data": dict(task.data),
            "cause": cause_of(outcome),
            "data_digest": data_digest(task.data),
        }
        try:
            line = json.dumps(entry, default=date_as_text).encode() + b"\n"
            with self._failures_lock:
                _warn_of_harm(self._failures)
                self._failures.append(line)
        except (OSError, TypeError, ValueError, RecursionError) as error:
            # The event log has the failure; only the convenience of a task file is lost.
            self._gave_up = isinstance(error, OSError)
            logger.warning(
                "the failed task %r can't be kept in %s: %s",
                task.task_id,
                self._files.failures,
                error,
            )

    def close(self) -> None:
        """Close the files, which lets other workers in. May be called more than once."""
        self._runs.close()
        self._failures.close()


def _warn_of_harm(file: LineFile) -> bool:
    """Warn of what others did to *file* since the last write; return whether they did anything."""
    harm = file.harm()
    if harm is not None:
        logger.warning("%s was %s during the run: what it had is gone", file.path, harm)
    return harm is not None


def _current_folder() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # deleted
        return None


def _versions() -> dict[str, str]:
    """Return the versions of this package, Python, the platform and libraries that matter."""
    import platform
    from importlib import metadata

    found = {"cloud_tasks": __version__, "python": platform.python_version()}
    for name in ("loky", "psutil", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return {**found, "platform": platform.platform()}
