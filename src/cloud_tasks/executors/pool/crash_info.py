"""Collect what explains the death of a task's process.

Where Python was (``faulthandler`` wrote it into the flag page), the last lines that the task
printed (from its task log), the memory that was measured, and whether the kernel killed it for
want of memory. All of it in the pool's thread, but ``warn_of_log_error``, which is the memory
watch's.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time

from cloud_tasks.executors.common import task_logs
from cloud_tasks.executors.common.flag_page import WorkerPage
from cloud_tasks.executors.pool.state import Job
from cloud_tasks.outcome import CrashInfo
from cloud_tasks.system.cgroups import ControlGroups

logger = logging.getLogger(__name__)

#: Exit codes of the signals at which faulthandler writes; at any other, a traceback is an old one.
_FAULTS = tuple(
    -getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL")
    if hasattr(signal, name)
)
#: Limits of the last output.
_MAX_LINES, _MAX_BYTES = 20, 4096
#: Bytes at the end of an index that surely hold its last line.
_INDEX_BYTES = 64 * 1024
#: Traceback lines from this file on are frames of cloud_tasks.
_OUR_FRAME = os.path.join("cloud_tasks", "executors", "common", "call.py")  # noqa: PTH118
_FIRST_WORDS = "Fatal Python error"
#: Seconds within which the pool sees all deaths that the kernel caused at one moment.
_TOGETHER = 5.0


class CrashCollector:
    """Collects the ``CrashInfo`` of tasks; *task_logs* is their folder, None if there are none."""

    def __init__(self, flags: WorkerPage, task_logs: str | None) -> None:
        self._flags = flags
        self._folder = task_logs
        self._warned = False

    def traceback(self, slot: int, exit_code: int | None) -> str | None:
        """Remove and return the traceback of a crash that ended with *exit_code*; None: none."""
        if exit_code == 0:  # no crash, so there is nothing to remove either
            return None
        text = self._flags.pop_traceback(slot)
        return _without_our_frames(text) if text and exit_code in _FAULTS else None

    def after_death(
        self, job: Job, slot: int, traceback: str | None, *, called: bool
    ) -> CrashInfo | None:
        """Collect what is known of *job*, whose process has died; None: nothing.

        If its function was not *called*, the last output is that of an earlier attempt.
        """
        last = self._last_output(job, slot) if called else None
        found = CrashInfo(traceback, last, job.memory, job.free_memory)
        return None if found == CrashInfo() else found

    def after_exit(self, job: Job, slot: int) -> CrashInfo | None:
        """Return the last output of a *job* that ended its process by ``sys.exit``."""
        last = self._last_output(job, slot)
        return None if last is None else CrashInfo(last_output=last)

    def _last_output(self, job: Job, slot: int) -> str | None:
        if self._folder is None:
            return None
        log, index = task_logs.paths(self._folder, slot)
        data, _ = _read_end(index, 0, _INDEX_BYTES)
        entry = task_logs.parse_entry(data.rstrip(b"\n").rpartition(b"\n")[2])
        if entry is None or entry[1] != job.task_id:  # its function was not called
            return None
        return _last_lines(log, entry[0])

    def warn_of_log_error(self) -> None:
        """Log a warning, once, if a child could not write a task log."""
        number = self._flags.log_error
        if number and self._folder is not None and not self._warned:
            self._warned = True
            logger.warning(
                "the output of tasks can't be kept in %s: %s; the tasks go on, and their output is "
                "kept again as soon as that is possible",
                self._folder,
                os.strerror(number),
            )


def _without_our_frames(text: str) -> str | None:
    """Return faulthandler's text without frames of cloud_tasks and the list of modules."""
    begin = text.rfind(_FIRST_WORDS)  # a task may have written anything before it
    if begin < 0:
        return None
    lines = []
    for line in text[begin:].splitlines():
        if _OUR_FRAME in line or line.startswith("Extension modules:"):
            break
        lines.append(line)
    return "\n".join(lines).strip()


def _last_lines(log: str, offset: int) -> str | None:
    data, whole = _read_end(log, offset, _MAX_BYTES)
    if not whole:
        data = data.partition(b"\n")[2] or data
    lines = data.decode(errors="replace").rstrip("\r\n").split("\n")[-_MAX_LINES:]
    # As on a terminal: of a progress bar that was redrawn, the last state is left.
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines) or None


def _read_end(path: str, start: int, limit: int) -> tuple[bytes, bool]:
    """Return at most *limit* last bytes of a file from *start* on, and whether these are all."""
    try:
        # Does not block if a task has put a pipe in its place.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return b"", True
    try:
        size = os.fstat(descriptor).st_size
        begin = max(start, size - limit)
        return os.pread(descriptor, max(0, size - begin), begin), begin == start
    except OSError:
        return b"", True
    finally:
        os.close(descriptor)


class OomWatch:
    """Recognises a SIGKILL that the kernel sent for want of memory."""

    def __init__(self, groups: ControlGroups | None = None) -> None:
        self._groups = groups or ControlGroups()
        self._kills = self._groups.oom_kills()
        self._unexplained = 0
        self._counted_at = -math.inf

    def hint(self, exit_code: int | None) -> str | None:
        """Return a likely reason for a death with *exit_code*; None: unknown."""
        if exit_code != -signal.SIGKILL:
            return None
        kills, now = self._groups.oom_kills(), time.monotonic()
        if kills > self._kills:
            self._unexplained = kills - self._kills
            self._kills, self._counted_at = kills, now
        # Several may be killed before the pool sees the first death.
        if not self._unexplained or now - self._counted_at > _TOGETHER:
            return None
        self._unexplained -= 1
        return "out of memory"
