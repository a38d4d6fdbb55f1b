"""Events in a file, one JSON object a line, appended.

Whole lines only: every write is one call at the end of the file, so several workers can share
it. What a crash in the middle of a write left is taken away when the file is next opened.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import sys
import time
from pathlib import Path

from cloud_tasks.errors import EventLogError
from cloud_tasks.events.base import EventSink

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

#: A torn line longer than this is not looked for.
_LONGEST_TAIL = 128 * 2**20
#: Seconds between two looks whether the file is still where it was.
_LOOK_PERIOD = 1.0


class JsonlSink(EventSink):
    """The event log at *path*."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._descriptor = -1
        self._rest = b""  # of a write that was cut short
        self._looked = 0.0
        self._starts_torn = False

    def open(self) -> None:
        """Open or create the file, and mend its end.

        Raises:
            EventLogError: it can't be written to.
        """
        try:
            # Without O_NONBLOCK a FIFO that nobody reads would stop us for ever.
            self._descriptor = os.open(
                self._path,
                os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0),
                0o666,
            )
        except OSError as error:
            raise EventLogError(
                f"the event log {str(self._path)!r} can't be opened for writing: "
                f"{error.strerror}; choose another one with --event-log-file"
            ) from error
        if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self._mend()
        self._looked = time.monotonic()

    def _mend(self) -> None:
        """Take away the part of a line at the end, if no other worker may be writing it."""
        size = os.fstat(self._descriptor).st_size
        if size == 0 or self._read(size - 1, 1) == b"\n":
            self._share()
            return
        if not self._alone():
            self._starts_torn = True
            return
        whole, tail = self._last_line(size)
        if _is_event(tail):
            os.write(self._descriptor, b"\n")
        else:
            os.ftruncate(self._descriptor, whole)
            logger.warning(
                "the event log %s ended in the middle of a line: its last %d bytes were removed",
                self._path,
                size - whole,
            )
        self._share()

    def _last_line(self, size: int) -> tuple[int, bytes]:
        """Return where the last line begins, and its text."""
        tail = b""
        start = size
        while start > 0 and len(tail) < _LONGEST_TAIL:
            step = min(65536, start)
            start -= step
            tail = self._read(start, step) + tail
            at = tail.rfind(b"\n")
            if at >= 0:
                return start + at + 1, tail[at + 1 :]
        return start, tail

    def _read(self, start: int, length: int) -> bytes:
        os.lseek(self._descriptor, start, os.SEEK_SET)
        return os.read(self._descriptor, length)

    def _alone(self) -> bool:
        """True if no other worker has the file open."""
        if sys.platform == "win32":
            return True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _share(self) -> None:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def write(self, lines: list[bytes]) -> None:
        """Append *lines*; returns after ``write(2)`` has.

        Raises:
            EventLogError: the disk is full, or the like; call again with the same lines.
        """
        self._look_after_file()
        data = self._rest or b"\n".join(lines) + b"\n"
        if self._starts_torn:
            data = b"\n" + data
            self._starts_torn = False
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
                self._rest = data
        except OSError as error:
            reason = "nobody reads it" if error.errno == errno.EAGAIN else error.strerror
            raise EventLogError(
                f"the event log {str(self._path)!r} can't be written: {reason}"
            ) from error

    def _look_after_file(self) -> None:
        """Open the file anew if somebody has moved or removed it."""
        now = time.monotonic()
        if now - self._looked < _LOOK_PERIOD or self._rest:
            return
        self._looked = now
        try:
            there = self._path.stat()
            ours = os.fstat(self._descriptor)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        except OSError:
            return
        logger.warning("the event log %s was moved or removed: it begins anew", self._path)
        os.close(self._descriptor)
        self.open()

    def close(self) -> None:
        """Close the file; the part of a line that a full disk left is taken away."""
        if self._descriptor < 0:
            return
        if self._rest:
            with contextlib.suppress(OSError):
                self._mend()
        os.close(self._descriptor)
        self._descriptor = -1


def _is_event(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
