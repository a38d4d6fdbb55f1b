"""Append whole lines to a file that outlives crashes, lock it, and replace a file at once.

The life of such a file, here the list of a run's failures, a ledger or an event log::

    open_append ──► lock ──► mend: end_last_line, or truncate at last_line_start ──► append ...

A line is one ``write(2)`` with ``O_APPEND``, so lines of several processes do not mix. Two things
leave part of a line: a disk that is full, where :func:`append` takes back what it wrote, and a
crash in the middle of a write, which is mended when the file is next opened. Other programs may
cut, remove or replace the file meanwhile, as those that rotate logs do: :class:`OwnPart` notices.

In a shared folder, another user can make a symbolic link of a name that is known beforehand. A file
that this package names is never written through a link (``follow=False``); one that the user names
is.

Every function works on a descriptor or a path, may block on the disk, and raises ``OSError``: the
caller turns that into a sentence about its own file. No function knows another's state, so any
thread may call them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

#: Bytes that are read at a time while the beginning of the last line is searched for.
_BLOCK = 65536
#: Bytes at the end of what we wrote by which we know it again: they hold times and numbers.
_COMPARED = 128


def open_append(
    path: str | Path, flags: int = os.O_RDWR, *, follow: bool = True, private: bool = False
) -> int:
    """Open or create the file at *path* for appending; return its descriptor.

    Args:
        path: of the file.
        flags: the access, and further flags of ``open(2)``. Mending needs ``O_RDWR``.
        follow: *path* may be a symbolic link, and any kind of file.
        private: only its owner may read it.
    """
    flags |= os.O_CREAT | os.O_APPEND
    if not follow:
        # Without O_NONBLOCK a FIFO without a reader would block for ever.
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags, 0o600 if private else 0o666)
    except OSError as error:
        if not follow and Path(path).is_symlink():
            raise OSError(errno.ELOOP, "it is a symbolic link", str(path)) from error
        raise
    if not follow and not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no ordinary file", str(path))
    if private:
        # It may belong to another user; Windows has no such call.
        with contextlib.suppress(OSError, AttributeError):
            os.fchmod(descriptor, 0o600)
    return descriptor


def lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock the open file or folder until it is closed; never wait.

    Returns:
        Whether other processes are really kept out: False where the file system has no locks.

    Raises:
        BlockingIOError: another process holds a lock that excludes this one.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def append(descriptor: int, lines: bytes) -> None:
    """Append *lines*, or nothing: part of a line would spoil the next one, too."""
    written = os.write(descriptor, lines)
    if written < len(lines):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_torn(descriptor: int) -> bool:
    """Tell whether the file ends in the middle of a line."""
    size = os.fstat(descriptor).st_size
    return size > 0 and read_at(descriptor, size - 1, 1) != b"\n"


def end_last_line(descriptor: int) -> None:
    """Append a line end if the last line has none, so that the next line stands by itself."""
    if is_torn(descriptor):
        os.write(descriptor, b"\n")


def last_line_start(descriptor: int) -> int:
    """Return the offset at which the last line begins; that of a torn file is the torn one."""
    start = os.fstat(descriptor).st_size
    while start > 0:
        step = min(_BLOCK, start)
        start -= step
        at = read_at(descriptor, start, step).rfind(b"\n")
        if at >= 0:
            return start + at + 1
    return 0


def read_at(descriptor: int, start: int, length: int) -> bytes:
    """Return up to *length* bytes from the offset *start* on."""
    os.lseek(descriptor, start, os.SEEK_SET)  # appending goes to the end all the same
    return os.read(descriptor, length)


class OwnPart:
    """The bytes of an open file that must stay: those it had when we opened it, and ours.

    A check costs one ``fstat(2)`` while no other program appends. Their appending is no loss.

    Attributes:
        end: offset behind the last byte that must stay.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.end = os.fstat(descriptor).st_size
        start = max(0, self.end - _COMPARED)
        #: The last bytes that were written at once, or some of them.
        self._last = read_at(descriptor, start, self.end - start)

    def is_cut(self, size: int) -> bool:
        """Tell whether some of them are gone from the file, which has *size* bytes now."""
        if size <= self.end:
            return size < self.end
        # Others have appended, or it was cut and has grown since.
        last = self._last[-_COMPARED:]
        return read_at(self._descriptor, self.end - len(last), len(last)) != last

    def add(self, data: bytes) -> bool:
        """Add *data*, which was just written; tell whether the file was cut shortly before."""
        before, self.end = self.end, os.lseek(self._descriptor, 0, os.SEEK_CUR)
        self._last = data
        return self.end - len(data) < before


class LineFile:
    """A file of ours that only grows by whole lines, whatever others do to it meanwhile.

    Its name is one that we chose, so it is never written through a link. One thread at a time may
    call it.
    """

    def __init__(self, path: Path, *, private: bool = False) -> None:
        self.path = path
        #: The absolute path, because the program may change its working directory.
        self._place: Path | None = None
        self._private = private
        self._descriptor = -1
        self._locked = False
        self._own: OwnPart | None = None

    def open(self) -> None:
        """Open or create the file, and end its last line."""
        if self._place is None:
            self._place = self.path.absolute()
        self._descriptor = open_append(self._place, follow=False, private=self._private)
        try:
            end_last_line(self._descriptor)
            self._own = OwnPart(self._descriptor)
        except OSError:
            self.close()
            raise

    def lock(self) -> None:
        """Lock the file, as :func:`lock` does, also when it begins anew."""
        self._locked = True
        lock(self._descriptor)

    def harm(self) -> str | None:
        """Return what others did to the file since the last call, as a participle; None: nothing.

        Afterwards lines can be appended again: a file that was moved, replaced or removed begins
        anew.
        """
        ours = os.fstat(self._descriptor)
        if not self._is_there(ours):
            self.close()
            self.open()
            if self._locked:
                self.lock()
            return "moved or removed"
        if self._own is not None and self._own.is_cut(ours.st_size):
            end_last_line(self._descriptor)
            self._own = OwnPart(self._descriptor)
            return "cut"
        return None

    def _is_there(self, ours: os.stat_result) -> bool:
        try:
            return os.path.samestat((self._place or self.path).lstat(), ours)
        except FileNotFoundError:
            return False

    def append(self, lines: bytes) -> None:
        """Append *lines*, or nothing, as :func:`append` does."""
        append(self._descriptor, lines)
        if self._own is not None:
            self._own.add(lines)

    @property
    def is_open(self) -> bool:
        """True between ``open`` and ``close``."""
        return self._descriptor >= 0

    def close(self) -> None:
        """Close the file. May be called more than once."""
        # The number of a closed descriptor is soon reused for another file.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


@contextlib.contextmanager
def draft_beside(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield the path of an empty draft in the folder of *path*; remove it at the end if it's there.

    The body writes the draft and calls ``draft.replace(path)`` when it is whole: a reader sees
    the old file or the new one. Without that call the old file stays. *private*: only its owner
    may read it.
    """
    # Its name can't be known beforehand, and the call creates it, so it is no link to elsewhere.
    draft = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666))
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)
