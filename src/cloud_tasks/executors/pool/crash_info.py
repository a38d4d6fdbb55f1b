"""What a task left behind whose process is dead: where it was, what it had printed."""

from __future__ import annotations

import logging
import math
import os
import signal
import time

from cloud_tasks.executors.common import task_logs
from cloud_tasks.executors.common.flag_page import FlagPage
from cloud_tasks.executors.pool.state import Job
from cloud_tasks.outcome import CrashInfo
from cloud_tasks.system.cgroups import ControlGroups

logger = logging.getLogger(__name__)

#: The signals at which faulthandler speaks; at any other end, what is there is older.
_FAULTS = tuple(
    -getattr(signal, name)
    for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL")
    if hasattr(signal, name)
)
#: Of the output, so many lines and bytes at most.
_LINES, _BYTES = 20, 4096
#: Bytes of an index that surely hold its last line.
_INDEX_BYTES = 64 * 1024
#: From this frame on, the stack is ours.
_OUR_FRAME = os.path.join("cloud_tasks", "executors", "common", "call.py")  # noqa: PTH118
_FIRST_WORDS = "Fatal Python error"
_NOTHING = CrashInfo()


class CrashCollector:
    """Looks for what tasks left.

    Args:
        flags: the page of the pool, with the tracebacks of crashes.
        task_logs: the folder of what tasks print; None: it is not kept.
    """

    def __init__(self, flags: FlagPage, task_logs: str | None) -> None:
        self._flags = flags
        self._folder = task_logs
        self._told = False

    def traceback(self, slot: int, exit_code: int | None) -> str | None:
        """Take what the crash that ended with *exit_code* wrote; None: nothing."""
        if exit_code == 0:  # it has not crashed, so there is nothing to be cleared either
            return None
        text = self._flags.pop_traceback(slot)
        return _users_part(text) if text and exit_code in _FAULTS else None

    def after_death(
        self, job: Job, slot: int, traceback: str | None, *, called: bool
    ) -> CrashInfo | None:
        """Collect what is left of *job*; None: nothing is.

        Where its function was not *called*, what was printed last is of an earlier try.
        """
        last = self._last_output(job, slot) if called else None
        found = CrashInfo(traceback, last, job.memory, job.free_memory)
        return None if found == _NOTHING else found

    def after_exit(self, job: Job, slot: int) -> CrashInfo | None:
        """Collect what is of interest of a *job* that ended its process by ``sys.exit``."""
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

    def tell_trouble(self) -> None:
        """Warn, once, if a task log could not be written."""
        number = self._flags.log_error
        if number and self._folder is not None and not self._told:
            self._told = True
            logger.warning(
                "what tasks print can't be kept in %s: %s; the tasks go on, and so does the "
                "keeping as soon as it can",
                self._folder,
                os.strerror(number),
            )


def _users_part(text: str) -> str | None:
    """Return faulthandler's text without our own frames, and without the list of modules."""
    begin = text.rfind(_FIRST_WORDS)  # before it, a task may have written what it liked
    if begin < 0:
        return None
    lines = []
    for line in text[begin:].splitlines():
        if _OUR_FRAME in line or line.startswith("Extension modules:"):
            break
        lines.append(line)
    return "\n".join(lines).strip()


def _last_lines(log: str, offset: int) -> str | None:
    data, whole = _read_end(log, offset, _BYTES)
    if not whole:
        data = data.partition(b"\n")[2] or data
    lines = data.decode(errors="replace").rstrip("\r\n").split("\n")[-_LINES:]
    # As on a terminal: a bar that is drawn again and again is there once.
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines) or None


def _read_end(path: str, start: int, most: int) -> tuple[bytes, bool]:
    """Return the last *most* bytes from *start* on; the second value: these are all."""
    try:
        # Whatever somebody has put in its place, nobody waits for it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return b"", True
    try:
        size = os.fstat(descriptor).st_size
        begin = max(start, size - most)
        return os.pread(descriptor, max(0, size - begin), begin), begin == start
    except OSError:
        return b"", True
    finally:
        os.close(descriptor)


#: Seconds within which we hear of all deaths that the kernel caused at one moment.
_TOGETHER = 5.0


class OomWatch:
    """Tells whether a SIGKILL that nobody of us sent was the kernel's, for want of memory.

    Args:
        groups: which count such kills.
    """

    def __init__(self, groups: ControlGroups | None = None) -> None:
        self._groups = groups or ControlGroups()
        self._kills = self._groups.oom_kills()
        self._unexplained = 0
        self._seen_at = -math.inf

    def hint(self, exit_code: int | None) -> str | None:
        """Return a likely reason for a death with *exit_code*; None: there is none to offer."""
        if exit_code != -signal.SIGKILL:
            return None
        kills, now = self._groups.oom_kills(), time.monotonic()
        if kills > self._kills:
            self._unexplained = kills - self._kills
            self._kills, self._seen_at = kills, now
        # Several may be killed before we hear of the first.
        if not self._unexplained or now - self._seen_at > _TOGETHER:
            return None
        self._unexplained -= 1
        return "out of memory"
