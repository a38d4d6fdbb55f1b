"""Append events to a file, one JSON object a line.

    open ──► mend a torn end ──► check ──► write ... ──► close
      ▲                            │
      └── moved, removed ◄─────────┤
                  cut: report, begin on a fresh line

Every write is one call at the end of the file, so several workers can share it. The part of a
line that a crash in the middle of a write left is removed when the file is next opened. Other
programs may cut the file, move or remove it at any time: that is reported once each time, because
the events that it had are gone for ``--resume``.
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
from cloud_tasks.system.append_file import (
    OwnPart,
    is_torn,
    last_line_start,
    lock,
    open_append,
    read_at,
)

logger = logging.getLogger(__name__)

#: Bytes; a longer last line is not read to check whether it is whole.
_LONGEST_TAIL = 128 * 2**20
#: Seconds that another worker may take from the first byte of a write to the last. A file grows in
#: the middle of a write, and a kernel may suspend the writer there.
_WRITE_TIME = 1.0


class JsonlSink(EventSink):
    """The event log at *path*.

    Args:
        path: path of the file, which is created where it is missing.
        check_period: seconds between two checks whether the file was moved.
        follow: *path* may be a symbolic link; False for a name that the user did not choose.
        sync: return from ``write`` only when the events would survive a loss of power. After a
            disk error, lines that are written again may be in the file twice.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        check_period: float = 1.0,
        follow: bool = True,
        sync: bool = False,
    ) -> None:
        self._path = Path(path)
        #: The absolute path, because the program may change its working directory.
        self._place: Path | None = None
        self._check_period = check_period
        self._follow = follow
        self._sync = sync
        self._descriptor = -1
        self._rest = b""  # the part of a write that a full disk cut off
        self._checked = 0.0
        self._starts_torn = False
        #: What must stay of a regular file.
        self._own: OwnPart | None = None

    def open(self) -> None:
        """Open or create the file, and mend its end.

        Raises:
            EventLogError: it can't be written to.
        """
        try:
            if self._place is None:
                self._place = self._path.absolute()
            flags = _open_flags(self._place) if self._follow else os.O_RDWR
            self._descriptor = open_append(self._place, flags, follow=self._follow)
            self._own = None
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                self._mend()
                self._own = OwnPart(self._descriptor)
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
            self._starts_torn = not alone and self._stays_torn()
            if alone:
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
        try:
            self._check_file()
            data = self._rest or b"\n".join(lines) + b"\n"
            if self._starts_torn:
                data = b"\n" + data
            while data:
                written = os.write(self._descriptor, data)
                data = self._to_write_again(data, written) + data[written:]
                self._rest = data
                self._starts_torn = False
            if self._sync and self._own is not None:
                os.fsync(self._descriptor)
        except OSError as error:
            raise EventLogError(
                f"the event log {str(self._path)!r} can't be written: {_reason(error)}"
            ) from error

    def _to_write_again(self, data: bytes, written: int) -> bytes:
        """Return the line that was spoilt by a cut between the check and the write of *data*."""
        own = self._own
        if own is None or not own.add(data[:written]):
            return b""
        begin = own.end - written
        self._report_cut(begin)
        if written < len(data) or not begin or read_at(self._descriptor, begin - 1, 1) == b"\n":
            return b""
        # It was glued to what the cut left of another line.
        return data.partition(b"\n")[0] + b"\n"

    # -- what others do to the file

    def _check_file(self) -> None:
        """Make sure that the next write reaches the file of our name, on a line of its own."""
        if self._descriptor < 0:  # the last attempt failed
            self.open()
            return
        ours = os.fstat(self._descriptor)
        if not ours.st_nlink:
            # Checked each time, because events written after it would be lost.
            self._begin_anew("removed", "its events are lost, and --resume runs their tasks again")
            return
        if self._own is not None and ours.st_size != self._own.end:
            self._check_content(self._own, ours.st_size)
        self._check_name(ours)

    def _check_content(self, own: OwnPart, size: int) -> None:
        """Notice a cut, and an end that is no line end, of a file that has *size* bytes."""
        if own.is_cut(size):
            self._own = OwnPart(self._descriptor)
            # The beginning of its line may be gone: the caller has all of the line.
            self._rest = b""
            self._report_cut(size)
        if not self._rest:
            self._starts_torn = self._stays_torn()

    def _stays_torn(self) -> bool:
        """Tell whether the last line has no end, and no worker that shares the file is writing it.

        Such a line is left by a worker that was killed in the middle of its write.
        """
        deadline = time.monotonic() + _WRITE_TIME
        while is_torn(self._descriptor):
            if time.monotonic() >= deadline:
                return True
            time.sleep(0.001)
        return False

    def _check_name(self, ours: os.stat_result) -> None:
        """Notice once in a period that the file, which keeps its events, has another name now."""
        now = time.monotonic()
        if self._rest or now - self._checked < self._check_period:
            return
        self._checked = now
        try:
            if os.path.samestat((self._place or self._path).stat(), ours):
                return
        except FileNotFoundError:
            pass
        except OSError:
            return
        self._begin_anew("moved", "--resume reads only the new one")

    def _begin_anew(self, how: str, result: str) -> None:
        self._report(f"was {how}, so it begins anew: {result}")
        self._rest = b""
        self._drop()
        self.open()

    def _report_cut(self, size: int) -> None:
        self._report(
            f"was cut to {size:,} bytes by another program: the events that were behind them are "
            "gone, and --resume runs their tasks again"
        )

    def _report(self, sentence: str) -> None:
        text = f"the event log {str(self._path)!r} {sentence}"
        if self.on_loss is None:
            logger.warning("%s", text)
        else:
            self.on_loss(text)

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
