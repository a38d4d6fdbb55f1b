"""Append events to a file, one JSON object a line.

    open ──► mend a torn end ──► write ... ──► close
      ▲                            │
      └── moved, removed ◄─────────┘

Every write is one call at the end of the file, so several workers can share it. The part of a
line that a crash in the middle of a write left is removed when the file is next opened.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import time
from pathlib import Path

from cloud_tasks.errors import EventLogError
from cloud_tasks.events.sink import EventSink
from cloud_tasks.system.append_file import is_torn, last_line_start, lock, open_append, read_at

logger = logging.getLogger(__name__)

#: Bytes; a longer last line is not read to check whether it is whole.
_LONGEST_TAIL = 128 * 2**20


class JsonlSink(EventSink):
    """The event log at *path*.

    Args:
        path: path of the file, which is created where it is missing.
        check_period: seconds between two checks whether the file was moved.
        sync: return from ``write`` only when the events would survive a loss of power. After a
            disk error, lines that are written again may be in the file twice.
    """

    def __init__(self, path: str | Path, *, check_period: float = 1.0, sync: bool = False) -> None:
        self._path = Path(path)
        #: The absolute path, because the program may change its working directory.
        self._place: Path | None = None
        self._check_period = check_period
        self._sync = sync
        self._descriptor = -1
        self._rest = b""  # the part of a write that a full disk cut off
        self._checked = 0.0
        self._starts_torn = False

    def open(self) -> None:
        """Open or create the file, and mend its end.

        Raises:
            EventLogError: it can't be written to.
        """
        try:
            if self._place is None:
                self._place = self._path.absolute()
            self._descriptor = open_append(self._place, _open_flags(self._place))
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                self._mend()
        except OSError as error:
            self._drop()
            raise EventLogError(
                f"the event log {str(self._path)!r} can't be opened for writing: "
                f"{_reason(error)}; choose another one with --event-log-file"
            ) from error
        self._checked = time.monotonic()

    def _mend(self) -> None:
        """Remove the part of a line at the end, unless another worker may be writing it."""
        if is_torn(self._descriptor):
            try:
                alone = lock(self._descriptor)
            except BlockingIOError:
                alone = False
            if not alone:
                self._starts_torn = True
                return
            try:
                self._end_last_line()
            except OSError:  # a full disk, or a file that can only be appended to
                self._starts_torn = True
        with contextlib.suppress(BlockingIOError):  # another worker is mending the file
            lock(self._descriptor, shared=True)

    def _end_last_line(self) -> None:
        """Remove the last line if it is the beginning of an event, else append its line end."""
        size = os.fstat(self._descriptor).st_size
        begin = last_line_start(self._descriptor)
        if not self._torn(begin, size):
            os.write(self._descriptor, b"\n")
            return
        os.ftruncate(self._descriptor, begin)
        logger.warning(
            "the event log %s ended in the middle of a line: its last %d bytes were removed",
            self._path,
            size - begin,
        )

    def _torn(self, begin: int, size: int) -> bool:
        """Return True if the last line is part of an event, not a line of another kind of file."""
        if read_at(self._descriptor, begin, 2) not in (b"{", b'{"'):
            return False
        length = size - begin
        return length > _LONGEST_TAIL or not _is_event(read_at(self._descriptor, begin, length))

    def write(self, lines: list[bytes]) -> None:
        """Append *lines*; returns after ``write(2)`` has.

        Raises:
            EventLogError: the disk is full or fails; call again with the same lines.
        """
        self._reopen_if_moved()
        data = self._rest or b"\n".join(lines) + b"\n"
        if self._starts_torn:
            data = b"\n" + data
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
                self._rest = data
                self._starts_torn = False
            if self._sync and stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                os.fsync(self._descriptor)
        except OSError as error:
            raise EventLogError(
                f"the event log {str(self._path)!r} can't be written: {_reason(error)}"
            ) from error

    def _reopen_if_moved(self) -> None:
        if self._descriptor < 0:  # the last attempt failed
            self.open()
            return
        if self._rest:
            return
        now = time.monotonic()
        # A removal is checked each time, because events written after it are lost; a move, which
        # keeps them, only once in a period.
        exists = os.fstat(self._descriptor).st_nlink > 0
        if exists and now - self._checked < self._check_period:
            return
        self._checked = now
        try:
            there = (self._place or self._path).stat()
            ours = os.fstat(self._descriptor)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        except OSError:
            return
        logger.warning("the event log %s was moved or removed: it begins anew", self._path)
        self._drop()
        self.open()

    def _drop(self) -> None:
        # The number of a closed descriptor is soon reused for another file.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file; remove the part of a line that a full disk left."""
        if self._descriptor < 0:
            return
        if self._rest:
            with contextlib.suppress(OSError):
                self._mend()
        self._drop()


def _open_flags(path: Path) -> int:
    # Without O_NONBLOCK a FIFO without a reader would block for ever; opened for reading as well,
    # it would count as its own reader.
    access = os.O_RDWR
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(path.stat().st_mode):
            access = os.O_WRONLY
    return access | getattr(os, "O_NONBLOCK", 0)


def _reason(error: OSError) -> str:
    if error.errno in (errno.EAGAIN, errno.ENXIO):
        return "no process reads this FIFO"
    if error.errno == errno.ENOENT and error.filename is None:
        return "the current folder has been deleted"
    return error.strerror or str(error)


def _is_event(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
