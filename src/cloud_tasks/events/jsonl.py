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
import time
from pathlib import Path

from cloud_tasks.errors import EventLogError
from cloud_tasks.events.sink import EventSink
from cloud_tasks.system.append_file import is_torn, last_line_start, lock, open_append, read_at

logger = logging.getLogger(__name__)

#: A last line longer than this is not read to see whether it is whole.
_LONGEST_TAIL = 128 * 2**20


class JsonlSink(EventSink):
    """The event log at *path*.

    Args:
        path: of the file.
        look_period: seconds between two looks whether the file was moved.
    """

    def __init__(self, path: str | Path, *, look_period: float = 1.0) -> None:
        self._path = Path(path)
        #: The same, wherever the program goes from the folder in which the file was opened first.
        self._place: Path | None = None
        self._look_period = look_period
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
        self._looked = time.monotonic()

    def _mend(self) -> None:
        """Take away the part of a line at the end, if no other worker may be writing it."""
        if not is_torn(self._descriptor):
            self._share()
            return
        if not self._alone():
            self._starts_torn = True
            return
        try:
            self._end_last_line()
        except OSError:  # a full disk, or a file that can only be appended to
            self._starts_torn = True
        self._share()

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
        """True if the last line is an event cut short, and no line of another kind of file."""
        if read_at(self._descriptor, begin, 2) not in (b"{", b'{"'):
            return False
        length = size - begin
        return length > _LONGEST_TAIL or not _is_event(read_at(self._descriptor, begin, length))

    def _alone(self) -> bool:
        """True if it is certain that no other worker has the file open."""
        try:
            return lock(self._descriptor)
        except BlockingIOError:
            return False

    def _share(self) -> None:
        with contextlib.suppress(BlockingIOError):  # another worker mends the file just now
            lock(self._descriptor, shared=True)

    def write(self, lines: list[bytes]) -> None:
        """Append *lines*; returns after ``write(2)`` has.

        Raises:
            EventLogError: the disk is full, or the like; call again with the same lines.
        """
        self._look_after_file()
        data = self._rest or b"\n".join(lines) + b"\n"
        if self._starts_torn:
            data = b"\n" + data
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
                self._rest = data
                self._starts_torn = False
        except OSError as error:
            raise EventLogError(
                f"the event log {str(self._path)!r} can't be written: {_reason(error)}"
            ) from error

    def _look_after_file(self) -> None:
        """Open the file anew if somebody has moved or removed it."""
        if self._descriptor < 0:  # the last attempt failed
            self.open()
            return
        now = time.monotonic()
        if self._rest:
            return
        # That it was removed is seen each time, for what goes there is lost; that it was moved,
        # where events are found again, now and then.
        there_at_all = os.fstat(self._descriptor).st_nlink > 0
        if there_at_all and now - self._looked < self._look_period:
            return
        self._looked = now
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
        # The number of a closed descriptor soon belongs to some other file.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file; the part of a line that a full disk left is taken away."""
        if self._descriptor < 0:
            return
        if self._rest:
            with contextlib.suppress(OSError):
                self._mend()
        self._drop()


def _open_flags(path: Path) -> int:
    # Without O_NONBLOCK a FIFO that nobody reads would stop us for ever, and open for reading
    # as well it would take events that nobody ever gets.
    access = os.O_RDWR
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(path.stat().st_mode):
            access = os.O_WRONLY
    return access | getattr(os, "O_NONBLOCK", 0)


def _reason(error: OSError) -> str:
    nobody = error.errno in (errno.EAGAIN, errno.ENXIO)
    return "nobody reads it" if nobody else error.strerror or str(error)


def _is_event(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
