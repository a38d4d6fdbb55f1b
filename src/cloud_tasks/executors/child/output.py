"""Write what a task prints into the files of its slot, from inside the task's process.

    print, C's stdout, processes below ──► descriptors 1 and 2 ──► slot-000.log
    begin(task_id), before the function is called ───────────────► slot-000.idx

common/task_logs.py defines the files. A file that can't be written must not fail a task: then a
part of the output is missing, and the worker reports the error number. What another program that
the task has started makes of a full disk is left to that program.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import time
from collections.abc import Callable

from cloud_tasks.executors.common.task_logs import format_entry, paths
from cloud_tasks.executors.common.worker_files import identity_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STDOUT, _STDERR = 1, 2
#: Not through a symbolic link: somebody else may have made it, as the names are known beforehand.
_APPEND = os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
#: Errors that come from what the task has done to the descriptor, not from the folder.
_ERRORS_OF_TASK = (errno.EBADF, errno.EPIPE)
#: C's _IOLBF, the same on Linux and macOS.
_LINE_BUFFERED = 1
#: Bound here, because a task may replace it in its module.
_now = time.time


class _TolerantFile(io.FileIO):
    """A standard descriptor that drops what finds no room instead of raising, and reports it."""

    def __init__(self, descriptor: int, name: str, on_error: Callable[[int], None]) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.name = name
        self._on_error = on_error

    def write(self, data: Any, /) -> int:
        """Write *data*; if there is no room, report that and return as if it had been written."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in _ERRORS_OF_TASK:
                raise
            self._on_error(error.errno or errno.EIO)
            return memoryview(data).nbytes


class TaskOutput:
    """The standard streams of this process, redirected into the log of its slot.

    Args:
        folder: of the task logs.
        on_error: called with the number of each error of the files.
        reused: this process runs many tasks.
    """

    def __init__(
        self, folder: str, slot: int, on_error: Callable[[int], None], *, reused: bool
    ) -> None:
        self._log, self._index_file = paths(folder, slot)
        self._on_error = on_error
        self._reused = reused
        self._flush_c: Callable[[], object] | None = None
        self._log_identity: tuple[int, int] | None = None
        self._index = -1
        self._index_identity: tuple[int, int] | None = None
        sys.stdout = sys.__stdout__ = self._tolerant(_STDOUT, sys.stdout)  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._tolerant(_STDERR, sys.stderr)  # type: ignore[misc]

    def _tolerant(self, descriptor: int, stream: Any) -> Any:
        """Return a stream to *descriptor* in place of *stream* that drops what finds no room."""
        try:
            stream.flush()
            raw = _TolerantFile(descriptor, stream.name, self._on_error)
            # So it is with PYTHONUNBUFFERED.
            unbuffered = isinstance(stream.buffer, io.RawIOBase)
        except (OSError, ValueError, AttributeError):  # there is none, or it is closed
            return stream
        replacement = io.TextIOWrapper(
            raw if unbuffered else io.BufferedWriter(raw),
            # Readers of task logs expect UTF-8.
            "utf-8",
            stream.errors,
            line_buffering=True,
            write_through=unbuffered,
        )
        replacement.mode = "w"  # type: ignore[misc]
        return replacement

    def redirect(self) -> None:
        """Redirect stdout and stderr of this process, and of those it starts, into the log.

        If the log can't be opened, both stay as they are.
        """
        self._log_identity = None
        try:
            log = os.open(self._log, os.O_WRONLY | _APPEND, 0o666)
        except OSError as error:
            self._on_error(error.errno or errno.EIO)
            return
        for descriptor in (_STDOUT, _STDERR):
            os.dup2(log, descriptor)
            os.set_inheritable(descriptor, True)
        # If a task has closed 1 or 2, open() may have returned just that number: then it stays.
        if log not in (_STDOUT, _STDERR):
            os.close(log)
        self._log_identity = identity_or_none(_STDOUT)
        # At the end of a process for one task, C flushes its streams itself. Such a process does
        # not import ctypes for it if its user has not.
        if self._flush_c is None and (self._reused or "ctypes" in sys.modules):
            self._flush_c = _line_buffer_c_stdout()

    def begin(self, task_id: str) -> None:
        """Write an index entry: *task_id* is called now. Never raises."""
        try:
            if not self._is_redirected():
                # There was no room, or a task has put another file there.
                self.redirect()
            if self._log_identity is not None:
                self._append(format_entry(os.fstat(_STDOUT).st_size, task_id, _now()))
        except OSError as error:
            self._on_error(error.errno or errno.EIO)

    def _is_redirected(self) -> bool:
        log = self._log_identity
        return log is not None and identity_or_none(_STDOUT) == log == identity_or_none(_STDERR)

    def _append(self, line: bytes) -> None:
        # A task may have closed the index, and got its number for a file of its own.
        if self._index_identity is None or identity_or_none(self._index) != self._index_identity:
            self._open_index()
        written = os.write(self._index, line)
        if written < len(line):
            # Half a line would spoil the next one, too.
            os.ftruncate(self._index, os.fstat(self._index).st_size - written)
            self._on_error(errno.ENOSPC)

    def _open_index(self) -> None:
        index = os.open(self._index_file, os.O_RDWR | _APPEND, 0o666)
        try:
            size = os.fstat(index).st_size
            if size and os.pread(index, 1, size - 1) != b"\n":
                os.write(index, b"\n")  # ends a line that was torn when the machine stopped
        except OSError:
            os.close(index)
            raise
        self._index, self._index_identity = index, identity_or_none(index)

    def flush_c(self) -> None:
        """Flush C's stdout; ``call.flush_streams`` flushes Python's streams."""
        if self._flush_c is not None:
            self._flush_c()


def _line_buffer_c_stdout() -> Callable[[], object] | None:
    """Make C's stdout write line by line; return a function that flushes the rest of it.

    Lines in a buffer would be lost in a crash, or come out in a later task. ``fflush(NULL)`` is
    not used, because it waits for a thread that reads from a stream. None: there is no C library.
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
