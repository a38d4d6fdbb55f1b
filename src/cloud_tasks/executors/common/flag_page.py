"""A page of memory shared with all children through a small file.

Byte 0 is the termination notice, byte 1 the shutdown request, byte 2 what keeps a child from
writing task logs. Behind them lies one cell a slot: the number of the job that was called last
and when, on the monotonic clock. The parent writes flags, a child writes its own cell; no lock
exists, so a process that is killed at any instruction blocks nobody.

Far behind, a region a slot is written at a crash only, by ``faulthandler``. It is not mapped, and
takes no room as long as nothing crashes: then the file ends with the cells.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time

_IN_MEMORY = "/dev/shm"  # noqa: S108 - the file is made by mkstemp, for us alone
_CELLS_AT = 64
_NOTICE, _SHUTDOWN, _LOG_TROUBLE = 0, 1, 2
#: monotonic seconds of the call, number of the job: the number is written last, and a reader
#: that finds its number there finds the time that belongs to it.
_STAMP = struct.Struct("<d")
_JOB = struct.Struct("<Q")
_CELL_BYTES = _STAMP.size + _JOB.size
#: Behind a million cells, so that it is the same for every page.
_REGIONS_AT = 16 * 2**20
#: Between the cells and the regions.
_NOWHERE = _REGIONS_AT - 2**20
#: From one region to the next. faulthandler writes 100 frames at most, each with two names of
#: 500 characters at most: the longest traceback does not reach the neighbour's.
_REGION_BYTES = 128 * 1024
#: More of a region is not read.
_MAX_TRACEBACK = 16 * 1024


class FlagPage:
    """The two live flags, and the start stamps of *cells* slots.

    Args:
        path: the file to map; see :meth:`create`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        descriptor = os.open(path, os.O_RDWR)
        try:
            size = min(os.fstat(descriptor).st_size, _REGIONS_AT)
            self._map: mmap.mmap | bytearray = mmap.mmap(descriptor, size)
            # The map keeps a copy of the descriptor: what a task writes into all that it finds
            # shall land where nothing is.
            os.lseek(descriptor, _NOWHERE, os.SEEK_SET)
        finally:
            os.close(descriptor)

    @classmethod
    def create(cls, cells: int) -> FlagPage:
        """Make the file, in memory where the machine has a place for it, and map it.

        Raises:
            ExecutorBrokenError: there is no place for it.
        """
        # Children map a page, they never make one.
        from cloud_tasks.errors import ExecutorBrokenError

        size = _CELLS_AT + _CELL_BYTES * cells
        try:
            return cls(_make_file(_IN_MEMORY, size))
        except OSError:  # not there, full or read-only
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
        """The provider has announced the end of this machine."""
        return self._map[_NOTICE] != 0

    @property
    def shutdown_request(self) -> bool:
        """The worker has been asked to stop."""
        return self._map[_SHUTDOWN] != 0

    def announce_termination(self) -> None:
        """Raise the first flag; every running task sees it at its next look."""
        self._map[_NOTICE] = 1

    def request_shutdown(self) -> None:
        """Raise the second flag."""
        self._map[_SHUTDOWN] = 1

    def stamp(self, cell: int, job: int, when: float) -> None:
        """Note that *job* is called now, in the slot's own process."""
        at = _CELLS_AT + _CELL_BYTES * cell
        _STAMP.pack_into(self._map, at, when)
        _JOB.pack_into(self._map, at + _STAMP.size, job)

    def started(self, cell: int, job: int, sent: float) -> float | None:
        """Return when *job*, given away at *sent*, was called, monotonic; None: not yet."""
        at = _CELLS_AT + _CELL_BYTES * cell
        if _JOB.unpack_from(self._map, at + _STAMP.size)[0] != job:
            return None
        when: float = _STAMP.unpack_from(self._map, at)[0]
        # A task may have replaced the clock of its process, for itself and for those after it.
        return when if sent <= when <= time.monotonic() else sent

    @property
    def log_trouble(self) -> int:
        """The error number with which a child could not write its task log last; 0: none."""
        return self._map[_LOG_TROUBLE]

    def tell_log_trouble(self, number: int) -> None:
        """Note the error *number* of a task log; the parent tells it."""
        self._map[_LOG_TROUBLE] = min(number, 255)

    def catch_crashes(self, cell: int) -> CrashCatcher:
        """Have this process write its traceback into the region of *cell* if it crashes.

        Also where the user has asked for one on stderr (``PYTHONFAULTHANDLER``): told with the
        task, it says more.
        """
        catcher = CrashCatcher(self.path, _REGIONS_AT + _REGION_BYTES * cell)
        catcher.catch()
        # What a forked copy would write would be taken for ours.
        os.register_at_fork(after_in_child=_crash_on_stderr)
        return catcher

    def take_traceback(self, cell: int) -> str | None:
        """Return what a crashed process of *cell* wrote, and clear it; None: nothing."""
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
        """Remove the file; whoever has mapped it goes on seeing the last state."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108 - pathlib is dear to a process that runs one task
        # A map holds a descriptor for as long as it exists. A reader may be in it this moment, so
        # it is not closed but let go.
        self._map = bytearray(self._map[:])


class CrashCatcher:
    """Has the traceback of a crash written to *place* in the file at *path*."""

    def __init__(self, path: str, place: int) -> None:
        import faulthandler

        self._enable = faulthandler.enable
        self._place = place
        self._descriptor: int | None = None
        # If no descriptor is left, there will be no traceback.
        with contextlib.suppress(OSError):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self.rewind()

    def catch(self) -> None:
        """Do so from now on, even if somebody else has asked for something else."""
        if self._descriptor is not None:
            self._enable(self._descriptor, all_threads=False)

    def rewind(self) -> None:
        """Begin at *place* again, where another process may have gone on: forked ones share it."""
        if self._descriptor is not None:
            os.lseek(self._descriptor, self._place, os.SEEK_SET)


def _crash_on_stderr() -> None:
    import faulthandler

    if faulthandler.is_enabled():
        faulthandler.enable(2, all_threads=False)


def _make_file(folder: str | None, size: int) -> str:
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="cloud_tasks-", dir=folder)
    try:
        # Written out, since room that is only promised is a bus error when it is not there.
        os.write(descriptor, bytes(size))
    except OSError:
        os.unlink(path)  # noqa: PTH108
        raise
    finally:
        os.close(descriptor)
    return path
