"""What a task prints, kept in its slot's file: the side of the process that prints.

A slot has two files in the folder of task logs. ``slot-000.log`` is what was printed, by Python,
C and all below the process, as it came. ``slot-000.idx`` says whose it is: a line of JSON for
each call of the function, ``[offset, task_id, started]``, where *offset* is the size of the other
file at that moment and *started* counts seconds since the epoch.

A file that can't be written is no reason for a task to fail: then something is missing in it.
What another program does that the task has started, and that finds no room, is its own affair.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii

from cloud_tasks.executors.child.socket_end import identity
from cloud_tasks.executors.common.task_logs import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STDOUT, _STDERR = 1, 2
#: What never is the fault of the folder, but of what the task has made of the descriptor.
_OWN_DOING = (errno.EBADF, errno.EPIPE)
#: C's _IOLBF, on Linux; macOS has the same.
_LINE_BUFFERED = 1
#: A task may have replaced it in its module.
_now = time.time


class _Tolerant(io.FileIO):
    """A standard descriptor; what finds no room is dropped.

    Args:
        descriptor: stays open.
        name: of the stream.
        tell: called with the number of the error each time.
    """

    def __init__(self, descriptor: int, name: str, tell: Callable[[int], None]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.name = name
        self._tell = tell

    def write(self, data: Any, /) -> int:
        """Write *data*, or pretend to."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in _OWN_DOING:
                raise
            self._tell(error.errno or errno.EIO)
            return memoryview(data).nbytes


class TaskOutput:
    """The standard streams of this process, and the files of its slot.

    Args:
        folder: of the task logs.
        slot: from 0.
        tell: called with the number of each error that the files bring.
        lasting: this process runs many tasks.
    """

    def __init__(
        self, folder: str, slot: int, tell: Callable[[int], None], *, lasting: bool
    ) -> None:
        self._log, self._index_file = paths(folder, slot)
        self._tell = tell
        self._lasting = lasting
        self._flush_c: Callable[[], object] | None = None
        self._log_identity: tuple[int, int] | None = None
        self._index = -1
        self._index_identity: tuple[int, int] | None = None
        sys.stdout = sys.__stdout__ = self._stream(_STDOUT, sys.stdout)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._stream(_STDERR, sys.stderr)  # type: ignore[misc]

    def _stream(self, descriptor: int, now: Any) -> Any:
        """Return a stream that no lack of room can break, in the place of *now*."""
        try:
            now.flush()
            raw = _Tolerant(descriptor, now.name, self._tell)
            # As PYTHONUNBUFFERED has it.
            unbuffered = isinstance(now.buffer, io.RawIOBase)
        except (OSError, ValueError, AttributeError):  # there is none, or it is closed
            return now
        stream = io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),
            # What reads the files takes them for UTF-8.
            "utf-8",
            now.errors,
            line_buffering=True,
            write_through=unbuffered,
        )
        stream.mode = "w"  # type: ignore[misc]
        return stream

    def take_over(self) -> None:
        """From here on, what this process and those below it print goes into the file.

        Where that can't be, it goes on going where the worker's goes.
        """
        self._log_identity = None
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError as error:
            self._tell(error.errno or errno.EIO)
            return
        for descriptor in (_STDOUT, _STDERR):
            # Opened as one of these two, if a task has closed that, it stays just there.
            os.dup2(log, descriptor)
            os.set_inheritable(descriptor, True)
        if log not in (_STDOUT, _STDERR):
            os.close(log)
        self._log_identity = _identity(_STDOUT)
        # The end of a process that runs one task flushes what is left; what it has not imported
        # it need not import for this.
        if self._flush_c is None and (self._lasting or "ctypes" in sys.modules):
            self._flush_c = _tame_c()

    def begin(self, task_id: str) -> None:
        """Note that *task_id* is called now; never fails."""
        try:
            if not self._is_taken_over():
                # For want of room, or a task has put something else there.
                self.take_over()
            if self._log_identity is not None:
                name = encode_basestring_ascii(task_id)
                line = f"[{os.fstat(_STDOUT).st_size}, {name}, {_now():.6f}]\n"
                self._note(line.encode())
        except OSError as error:
            self._tell(error.errno or errno.EIO)

    def _is_taken_over(self) -> bool:
        ours = self._log_identity
        return ours is not None and _identity(_STDOUT) == ours == _identity(_STDERR)

    def _note(self, line: bytes) -> None:
        # A task may have closed what it did not open, and got the number for a file of its own.
        if self._index_identity is None or _identity(self._index) != self._index_identity:
            self._open_index()
        written = os.write(self._index, line)
        if written < len(line):
            # Half a line would spoil the next one, too.
            os.ftruncate(self._index, os.fstat(self._index).st_size - written)
            self._tell(errno.ENOSPC)

    def _open_index(self) -> None:
        index = os.open(self._index_file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(index).st_size
            if size and os.pread(index, 1, size - 1) != b"\n":
                os.write(index, b"\n")  # a line that was torn when the machine stopped
        except OSError:
            os.close(index)
            raise
        self._index, self._index_identity = index, _identity(index)

    def end(self) -> None:
        """Write out what C code has printed; Python's own streams are flushed by others."""
        if self._flush_c is not None:
            self._flush_c()


def _identity(descriptor: int) -> tuple[int, int] | None:
    """Tell which file *descriptor* is; None: it is closed."""
    try:
        return identity(descriptor)
    except OSError:
        return None


def _tame_c() -> Callable[[], object] | None:
    """Have the C library write its stdout line by line; return what flushes the rest of it.

    Lines that wait in a buffer would die in a crash, or come out in a later task. No other stream
    is flushed: that would wait for a thread that reads from one. None: there is no such library.
    """
    try:
        import ctypes

        library = ctypes.CDLL(None)
        name = "__stdoutp" if sys.platform == "darwin" else "stdout"
        stream = ctypes.c_void_p.in_dll(library, name)
        library.setvbuf(stream, None, _LINE_BUFFERED, ctypes.c_size_t(0))
    except (ImportError, OSError, ValueError, AttributeError):
        return None
    return lambda: library.fflush(stream)
