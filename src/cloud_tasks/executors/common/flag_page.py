"""Share live flags, start times and crash tracebacks with child processes through one small file.

    byte 0             termination notice         written by the worker
    byte 1             shutdown request           written by the worker
    byte 2             error number of task logs  written by any child
    from byte 64       a cell of 16 bytes a slot  written by the slot's child
    from 16 MiB        a region of 128 KiB a slot written by faulthandler at a crash

A cell holds when the function was called last (monotonic seconds) and for which job. There is no
lock, so a process that is killed at any instruction blocks no other.

The regions are not mapped, and take no room as long as nothing crashes: the file ends with the
cells until then.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time

_IN_MEMORY = "/dev/shm"  # noqa: S108 - the file is made by mkstemp, readable by us alone
_CELLS_AT = 64
_NOTICE, _SHUTDOWN, _LOG_ERROR = 0, 1, 2
# The job number is written last: a reader that finds its number finds the time that belongs to it.
_TIME = struct.Struct("<d")
_JOB = struct.Struct("<Q")
_CELL_BYTES = _TIME.size + _JOB.size
#: Behind a million cells, so that it is the same for every page.
_REGIONS_AT = 16 * 2**20
#: An offset between the cells and the regions, where nothing is read.
_UNUSED_AT = _REGIONS_AT - 2**20
#: Bytes from one region to the next. faulthandler writes at most 100 frames, each with two names
#: of at most 500 characters: the longest traceback does not reach the next region.
_REGION_BYTES = 128 * 1024
#: Bytes of a region that are read at most.
_MAX_TRACEBACK = 16 * 1024


class FlagPage:
    """A map of the file at *path*: the two live flags, and the start times by slot."""

    def __init__(self, path: str) -> None:
        self.path = path
        descriptor = os.open(path, os.O_RDWR)
        try:
            size = min(os.fstat(descriptor).st_size, _REGIONS_AT)
            self._map: mmap.mmap | bytearray = mmap.mmap(descriptor, size)
            # The map keeps a copy of the descriptor. A task that writes into every descriptor it
            # finds shall hit nothing that is read.
            os.lseek(descriptor, _UNUSED_AT, os.SEEK_SET)
        finally:
            os.close(descriptor)

    @classmethod
    def create(cls, cells: int) -> FlagPage:
        """Make a file with *cells* cells, in memory if the machine has room there, and map it.

        Raises:
            ExecutorBrokenError: no folder has room for it.
        """
        # Imported here, as children map a page but never make one.
        from cloud_tasks.errors import ExecutorBrokenError

        size = _CELLS_AT + _CELL_BYTES * cells
        try:
            return cls(_make_file(_IN_MEMORY, size))
        except OSError:  # it does not exist, is full or read-only
            pass
        try:
            return cls(_make_file(None, size))
        except OSError as error:
            raise ExecutorBrokenError(
                f"no place for a file of {size} bytes in {_IN_MEMORY} or the folder for temporary "
                f"files: {error.strerror}; free some space, or set TMPDIR"
            ) from error

    @property
    def termination_notice(self) -> bool:
        """True from the moment that the provider announced the end of this machine."""
        return self._map[_NOTICE] != 0

    @property
    def shutdown_request(self) -> bool:
        """True from the moment that the worker was asked to stop."""
        return self._map[_SHUTDOWN] != 0

    def announce_termination(self) -> None:
        """Set the termination notice; running tasks read it when they next ask."""
        self._map[_NOTICE] = 1

    def request_shutdown(self) -> None:
        """Set the shutdown request; running tasks read it when they next ask."""
        self._map[_SHUTDOWN] = 1

    def record_start(self, cell: int, job: int, when: float) -> None:
        """Record that the function is called for *job* at *when*; by the slot's process only."""
        at = _CELLS_AT + _CELL_BYTES * cell
        _TIME.pack_into(self._map, at, when)
        _JOB.pack_into(self._map, at + _TIME.size, job)

    def started_at(self, cell: int, job: int, sent: float) -> float | None:
        """Return the monotonic time at which the function was called for *job*; None: not yet.

        A time before *sent*, when the job was sent, or in the future counts as *sent*.
        """
        at = _CELLS_AT + _CELL_BYTES * cell
        if _JOB.unpack_from(self._map, at + _TIME.size)[0] != job:
            return None
        when: float = _TIME.unpack_from(self._map, at)[0]
        # A task may have replaced the clock of its process, for itself and for those after it.
        return when if sent <= when <= time.monotonic() else sent

    @property
    def log_error(self) -> int:
        """The error number with which a child last failed to write a task log; 0: none."""
        return self._map[_LOG_ERROR]

    def record_log_error(self, number: int) -> None:
        """Record that a task log could not be written, for the worker to report."""
        self._map[_LOG_ERROR] = min(number, 255)

    def enable_crash_traceback(self, cell: int) -> CrashTraceback:
        """Have this process write a traceback into the region of *cell* if it crashes.

        This replaces a traceback on stderr that the user asked for (``PYTHONFAULTHANDLER``): the
        worker reports ours with the task.
        """
        traceback = CrashTraceback(self.path, _REGIONS_AT + _REGION_BYTES * cell)
        traceback.enable()
        # A process that the task forks would write into the region, too.
        os.register_at_fork(after_in_child=_crash_on_stderr)
        return traceback

    def pop_traceback(self, cell: int) -> str | None:
        """Return the traceback that a crashed process of *cell* wrote, and clear it."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            at = _REGIONS_AT + _REGION_BYTES * cell
            data = os.pread(descriptor, _MAX_TRACEBACK, at).rstrip(b"\0")
            if not data:
                return None
            os.pwrite(descriptor, bytes(len(data)), at)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return data.replace(b"\0", b"").decode(errors="replace")

    def close(self) -> None:
        """Remove the file; every process that has mapped it keeps the last state."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108 - a child imports no pathlib
        # The map holds a descriptor as long as it exists. Another thread may be reading it, so it
        # is not closed but released.
        self._map = bytearray(self._map[:])


class CrashTraceback:
    """The place for a traceback of this process: the offset *at* in the file *path*."""

    def __init__(self, path: str, at: int) -> None:
        import faulthandler

        self._enable = faulthandler.enable
        self._at = at
        self._descriptor: int | None = None
        # If no descriptor is left, there is no traceback.
        with contextlib.suppress(OSError):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self.rewind()

    def enable(self) -> None:
        """Write there from now on, whatever ``faulthandler`` was told before."""
        if self._descriptor is not None:
            self._enable(self._descriptor, all_threads=False)

    def rewind(self) -> None:
        """Go back to the offset: forked processes share it, and another one may have written."""
        if self._descriptor is not None:
            os.lseek(self._descriptor, self._at, os.SEEK_SET)


def _crash_on_stderr() -> None:
    import faulthandler

    if faulthandler.is_enabled():
        faulthandler.enable(2, all_threads=False)


def _make_file(folder: str | None, size: int) -> str:
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="cloud_tasks-", dir=folder)
    try:
        # Written, not truncated to size: a page that has no room behind it is a bus error.
        os.write(descriptor, bytes(size))
    except OSError:
        os.unlink(path)  # noqa: PTH108
        raise
    finally:
        os.close(descriptor)
    return path
