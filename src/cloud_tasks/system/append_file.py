"""Append whole lines to a file that outlives crashes, lock it, and replace a file at once.

The life of such a file, here the list of a run's failures, a ledger or an event log::

    open_append ──► lock ──► mend: end_last_line, or truncate at last_line_start ──► append ...

A line is one ``write(2)`` with ``O_APPEND``, so lines of several processes do not mix. Two things
leave part of a line: a disk that is full, where :func:`append` takes back what it wrote, and a
crash in the middle of a write, which is mended when the file is next opened.

Every function works on a descriptor or a path, may block on the disk, and raises ``OSError``: the
caller turns that into a sentence about its own file. No function knows another's state, so any
thread may call them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

#: Bytes that are read at a time while the beginning of the last line is searched for.
_BLOCK = 65536


def open_append(path: str | Path, flags: int = os.O_RDWR) -> int:
    """Open or create the file at *path* for appending; return its descriptor.

    *flags*: the access, and further flags of ``open(2)``. Mending needs ``O_RDWR``.
    """
    return os.open(path, flags | os.O_CREAT | os.O_APPEND, 0o666)


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


@contextlib.contextmanager
def draft_beside(path: Path) -> Iterator[Path]:
    """Yield the path of a draft in the folder of *path*; remove it at the end if it is there.

    The body writes the draft and calls ``draft.replace(path)`` when it is whole: a reader sees
    the old file or the new one. Without that call the old file stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)
