"""Capture what this process and its children print while the progress is drawn.

Descriptors 1 and 2 are replaced by one pipe, whose content is shown above the drawing. A pipe and
not a file object in ``sys.stdout``, because C code and child processes print, too.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading

#: Bytes that the pipe can hold, where the system lets us choose.
_ROOM = 2**20
#: Our own descriptors have this number or a higher one: programs use the lower ones.
_LOWEST = 10
_PART = 64 * 1024


class Capture:
    """A pipe in the place of the terminal.

    Attributes:
        terminal: a descriptor of the terminal, ours to write to.
        encoding: of what is written to it.
    """

    def __init__(self) -> None:
        self.terminal = -1
        self.encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        self._pipe = -1
        self._saved: dict[int, int] = {}
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Put the pipe in place.

        Raises:
            OSError: there is no free descriptor; everything is as it was.
        """
        flush_streams()
        with contextlib.ExitStack() as undo:
            self.terminal = _moved_up(os.dup(2))
            undo.callback(os.close, self.terminal)
            end, entry = os.pipe()
            self._pipe = _moved_up(end)
            undo.callback(os.close, self._pipe)
            entry = _moved_up(entry)
            undo.callback(os.close, entry)
            _widen(entry)
            os.set_blocking(self._pipe, False)
            for descriptor in _at_the_terminal():
                self._saved[descriptor] = _moved_up(os.dup(descriptor))
                undo.callback(self.give_back)
                os.dup2(entry, descriptor)
            undo.pop_all()
            os.close(entry)

    def read(self, limit: int = _ROOM) -> bytes:
        """Return what the pipe holds, up to about *limit* bytes; never blocks."""
        parts: list[bytes] = []
        while limit > 0:
            try:
                part = os.read(self._pipe, _PART)
            except BlockingIOError:
                break
            if not part:
                break
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)

    def give_back(self) -> None:
        """Restore the descriptors. Any thread; may be called more than once."""
        with self._lock:
            while self._saved:
                descriptor, saved = self._saved.popitem()
                os.dup2(saved, descriptor)
                os.close(saved)

    def let_go(self) -> None:
        """Leave the pipe to a thread that passes on what processes that outlive the run write."""
        try:
            first = os.read(self._pipe, _PART)
        except BlockingIOError:
            first = None
        if first == b"":
            self._close()
            return
        os.set_blocking(self._pipe, True)
        threading.Thread(
            target=self._pass_on, args=(first,), name="cloud_tasks-leftovers", daemon=True
        ).start()

    def _pass_on(self, first: bytes | None) -> None:
        with contextlib.suppress(OSError):
            part = first or os.read(self._pipe, _PART)
            while part:
                write_all(self.terminal, part)
                part = os.read(self._pipe, _PART)
        self._close()

    def _close(self) -> None:
        os.close(self._pipe)
        os.close(self.terminal)


def flush_streams() -> None:
    """Flush the buffers of this process; blocks as long as the reader does not read."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of *data*; blocks as long as the terminal takes nothing.

    Raises:
        OSError: it is gone.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view[:_PART]) :]
        except BlockingIOError:  # some program made the terminal non-blocking, and with it ours
            select.select([], [descriptor], [], 1.0)


def _at_the_terminal() -> list[int]:
    """Return those of descriptors 1 and 2 that are the terminal of 2."""
    place = os.fstat(2).st_rdev
    found = [2]
    with contextlib.suppress(OSError):
        if os.isatty(1) and os.fstat(1).st_rdev == place:
            found.append(1)
    return found


def _moved_up(descriptor: int) -> int:
    """Move *descriptor* to a high number that children don't inherit; return it."""
    import fcntl

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _LOWEST)
    finally:
        os.close(descriptor)


def _widen(entry: int) -> None:
    import fcntl

    set_size = getattr(fcntl, "F_SETPIPE_SZ", None)
    if set_size is not None:
        with contextlib.suppress(OSError):
            fcntl.fcntl(entry, set_size, _ROOM)
