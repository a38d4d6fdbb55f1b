"""Writing a run directory: what was started and how it ended, and the tasks that failed.

Where the events and task logs of it go, is for others to write; see :mod:`history.layout`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from cloud_tasks import __version__
from cloud_tasks.clock import Clock
from cloud_tasks.errors import EventLogError
from cloud_tasks.events.causes import cause_of
from cloud_tasks.events.records import data_digest, date_as_text
from cloud_tasks.history.layout import RunDir
from cloud_tasks.outcome import Aborted, Completed, Outcome
from cloud_tasks.task import Delivery
from cloud_tasks.timestamps import timestamp

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)


class RunRecord:
    """The directory of one run. Called by one thread at a time, but for ``hear``.

    Args:
        path: of the directory; made if it is missing.
        clock: for the times.
    """

    #: A failed task could not be kept, and that was said.
    _gave_up = False

    def __init__(self, path: str, clock: Clock) -> None:
        self._files = RunDir(path)
        self._clock = clock
        self._runs: IO[bytes] | None = None
        self._failures = -1

    def open(self) -> None:
        """Make the directory, and keep other workers out of it.

        Raises:
            EventLogError: it can't be written to, or another worker uses it.
        """
        try:
            Path(self._files.path).mkdir(parents=True, exist_ok=True)
            self._runs = self._files.runs.open("ab", buffering=0)
            self._lock()
            for path in (self._files.runs, self._files.failures):
                _end_last_line(path)
            self._failures = os.open(
                self._files.failures, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666
            )
        except OSError as error:
            self.close()
            raise EventLogError(
                f"the run directory {str(self._files.path)!r} can't be written: "
                f"{error.strerror or error}; choose another one with --run-dir"
            ) from error

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        assert self._runs is not None
        try:
            fcntl.flock(self._runs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise EventLogError(
                f"another worker writes to the run directory {str(self._files.path)!r}: wait for "
                "its end, or choose another one with --run-dir"
            ) from None
        except OSError:
            pass  # a file system without locks

    def started(self, what: Mapping[str, Any]) -> None:
        """Note a start: the command, the settings, whatever tells later what ran here."""
        self._note(
            {
                "event": "start",
                "started": timestamp(self._clock.wall()),
                "cwd": str(Path.cwd()),
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "versions": _versions(),
                **what,
            }
        )

    def ended(self, summary: Mapping[str, Any]) -> None:
        """Note the end, with what the run came to."""
        self._note(
            {
                "event": "end",
                "ended": timestamp(self._clock.wall()),
                "pid": os.getpid(),
                "summary": summary,
            }
        )

    def _note(self, entry: Mapping[str, Any]) -> None:
        if self._runs is None:
            return
        try:
            _write_whole(self._runs.fileno(), json.dumps(entry, default=str).encode() + b"\n")
        except OSError as error:
            logger.warning("%s can't be written: %s", self._files.runs, error.strerror or error)

    def hear(self, delivery: Delivery, outcome: Outcome) -> None:
        """Keep a task that failed, with its data, as an entry of a task file. Any thread."""
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
            _write_whole(self._failures, line)
        except (OSError, TypeError, ValueError, RecursionError) as error:
            # Its event tells that it failed; what is lost is a convenience.
            self._gave_up = isinstance(error, OSError)
            logger.warning(
                "the failed task %r can't be kept in %s: %s",
                task.task_id,
                self._files.failures,
                error,
            )

    def close(self) -> None:
        """Let others in. May be called more than once."""
        runs, self._runs = self._runs, None
        if runs is not None:
            runs.close()
        failures, self._failures = self._failures, -1
        if failures >= 0:
            os.close(failures)


def _write_whole(descriptor: int, line: bytes) -> None:
    """Append *line*, or nothing.

    Raises:
        OSError: there is no room.
    """
    written = os.write(descriptor, line)
    if written < len(line):
        # Half a line would spoil the next one, too.
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _end_last_line(path: Path) -> None:
    """Give a line that a crash cut off an end, so that the next one is a line of its own."""
    with contextlib.suppress(FileNotFoundError), path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _versions() -> dict[str, str]:
    """Return what a later reader may want to know of the software."""
    import platform
    from importlib import metadata

    found = {"cloud_tasks": __version__, "python": platform.python_version()}
    for name in ("loky", "psutil", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return {**found, "platform": platform.platform()}
