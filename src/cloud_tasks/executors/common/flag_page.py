"""Share live flags, start times and crash tracebacks with children, in memory without a name.

The page, which worker and children map::

    byte 0             termination notice         written by the worker
    byte 1             shutdown request           written by the worker
    byte 2             error number of task logs  written by any child
    from byte 16       a random token             written by the worker
    from byte 64       a cell of 16 bytes a slot  written by the slot's child

A cell holds when the function was called last (monotonic seconds) and for which job, and whether
the child has lost its socket since. There is no lock, so a process that is killed at any
instruction blocks no other.

A second file, which nothing maps, has a region of 128 KiB a slot, written by faulthandler at a
crash. It takes no memory as long as nothing crashes.

Neither has a name that a cleaner of /dev/shm could remove: a child inherits the descriptor of the
page, and opens the other by ``worker_files``. Their sizes are sealed. A child keeps no descriptor
of the page, and its descriptor of the other is its own, so a task that writes into all descriptors
that it finds, or truncates them, changes no flag and no cell.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import struct
import sys
import time

from cloud_tasks.executors.common.worker_files import WorkerFile, file_identity, identity_or_none

_IN_MEMORY = "/dev/shm"  # noqa: S108 - the file is made by mkstemp, readable by us alone
_TOKEN_AT, _TOKEN_BYTES, _CELLS_AT = 16, 16, 64
_NOTICE, _SHUTDOWN, _LOG_ERROR = 0, 1, 2
# The job number is written last: a reader that finds its number finds the time that belongs to it.
_TIME = struct.Struct("<d")
_JOB = struct.Struct("<Q")
#: Added to the job number once the child can't reply any more.
_SOCKET_LOST = 2**63
_CELL_BYTES = _TIME.size + _JOB.size
#: Bytes from one region to the next. faulthandler writes at most 100 frames, each with two names
#: of at most 500 characters: the longest traceback does not reach the next region.
_REGION_BYTES = 128 * 1024
#: Bytes of a region that are read at most.
_MAX_TRACEBACK = 16 * 1024


class PageAddress:
    """The address of a page for a process that has not inherited it. Sent pickled."""

    def __init__(self, page: WorkerFile, token: bytes) -> None:
        self.page = page
        self.token = token


class FlagPage:
    """A map of the page behind *descriptor*: the two live flags, and the start times by slot.

    Args:
        descriptor: closed by the caller; no other refers to the page afterwards.
        crash_file: for the tracebacks of this process; None: there are none.
    """

    def __init__(self, descriptor: int, crash_file: WorkerFile | None = None) -> None:
        self._map: mmap.mmap | bytearray = _map_without_descriptor(descriptor)
        self._crash_file = crash_file

    @classmethod
    def at(cls, address: PageAddress) -> FlagPage | None:
        """Map the page of a worker; None if it is out of reach, for example on another machine."""
        descriptor = address.page.open(os.O_RDWR)
        if descriptor is None:
            return None
        try:
            page = cls(descriptor)
        except (OSError, ValueError):
            return None
        finally:
            os.close(descriptor)
        return page if page._token == address.token else None

    @property
    def _token(self) -> bytes:
        return bytes(self._map[_TOKEN_AT : _TOKEN_AT + _TOKEN_BYTES])

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
        if _JOB.unpack_from(self._map, at + _TIME.size)[0] & ~_SOCKET_LOST != job:
            return None
        when: float = _TIME.unpack_from(self._map, at)[0]
        # A task may have replaced the clock of its process, for itself and for those after it.
        return when if sent <= when <= time.monotonic() else sent

    def record_lost_socket(self, cell: int) -> None:
        """Record that the task of *cell* has closed or replaced its process's socket."""
        at = _CELLS_AT + _CELL_BYTES * cell + _TIME.size
        _JOB.pack_into(self._map, at, _JOB.unpack_from(self._map, at)[0] | _SOCKET_LOST)

    def lost_socket(self, cell: int, job: int) -> bool:
        """Return whether *job* has closed or replaced the socket of its process."""
        at = _CELLS_AT + _CELL_BYTES * cell + _TIME.size
        return bool(_JOB.unpack_from(self._map, at)[0] == job | _SOCKET_LOST)

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
        traceback = CrashTraceback(self._crash_file, _REGION_BYTES * cell)
        traceback.enable()
        # A process that the task forks would write into the region, too.
        os.register_at_fork(after_in_child=_crash_on_stderr)
        return traceback


class WorkerPage(FlagPage):
    """The worker's side of the page, which makes it, with *cells* cells and as many regions.

    Attributes:
        descriptor: of the page, for children to inherit.

    Raises:
        ExecutorBrokenError: there is no room for it.
    """

    def __init__(self, cells: int) -> None:
        from cloud_tasks.errors import ExecutorBrokenError

        size = _CELLS_AT + _CELL_BYTES * cells
        token = os.urandom(_TOKEN_BYTES)
        try:
            content = bytes(_TOKEN_AT) + token + bytes(size - _TOKEN_AT - _TOKEN_BYTES)
            self.descriptor = _make_file(content)
            try:
                self._crashes = _make_file(b"", _REGION_BYTES * cells)
            except OSError:
                os.close(self.descriptor)
                raise
        except OSError as error:
            raise ExecutorBrokenError(
                f"no place for {size} bytes in memory, in {_IN_MEMORY} or in the folder for "
                f"temporary files: {error.strerror}; free some space, or set TMPDIR"
            ) from error
        super().__init__(self.descriptor, WorkerFile(self._crashes))
        self._closed = False

    @property
    def crash_file(self) -> WorkerFile:
        """The file for crash tracebacks, for children to open."""
        assert self._crash_file is not None
        return self._crash_file

    @property
    def address(self) -> PageAddress:
        """The page, for processes that do not inherit it."""
        return PageAddress(WorkerFile(self.descriptor), self._token)

    def pop_traceback(self, cell: int) -> str | None:
        """Return the traceback that a crashed process of *cell* wrote, and clear it."""
        if self._closed:
            return None
        at = _REGION_BYTES * cell
        with contextlib.suppress(OSError):
            data = os.pread(self._crashes, _MAX_TRACEBACK, at).rstrip(b"\0")
            if data:
                os.pwrite(self._crashes, bytes(len(data)), at)
                return data.replace(b"\0", b"").decode(errors="replace")
        return None

    def close(self) -> None:
        """Give the descriptors back; every process that has mapped it keeps the last state."""
        if not self._closed:
            self._closed = True
            os.close(self.descriptor)
            os.close(self._crashes)
            # The map may hold a descriptor as long as it exists. Another thread may be reading it,
            # so it is not closed but released.
            self._map = bytearray(self._map[:])


class CrashTraceback:
    """The place for a traceback of this process: the offset *at* in *file*; None: no place."""

    def __init__(self, file: WorkerFile | None, at: int) -> None:
        import faulthandler

        self._enable = faulthandler.enable
        self._at = at
        self._descriptor = None if file is None else file.open(os.O_WRONLY)
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


def _map_without_descriptor(descriptor: int) -> mmap.mmap:
    """Map the whole file of *descriptor* so that the map keeps no descriptor of it.

    Else a task that writes into every descriptor it finds would set flags of the whole pool.
    """
    size = os.fstat(descriptor).st_size
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, trackfd=False)
    # Until 3.12 the map duplicates the descriptor. A duplicate has the lowest number that is free.
    number = os.dup(descriptor)
    os.close(number)
    made = mmap.mmap(descriptor, size)
    # Not so if another thread has just opened or closed a file.
    if number != descriptor and identity_or_none(number) == file_identity(descriptor):
        # The number stays taken, because the map closes it in the end.
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, number, inheritable=False)
        os.close(null)
    return made


def _make_file(content: bytes, size: int = 0) -> int:
    """Open a new file without a name, in memory if possible, with *content*, else of *size*."""
    try:
        descriptor = os.memfd_create("cloud_tasks", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError):  # not on every platform, and a sandbox may forbid it
        try:
            descriptor = _make_unlinked(_IN_MEMORY, content, size)
        except OSError:  # it does not exist, is full or read-only
            descriptor = _make_unlinked(None, content, size)
        return descriptor
    try:
        _fill(descriptor, content, size)
        import fcntl

        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _make_unlinked(folder: str | None, content: bytes, size: int) -> int:
    import tempfile

    descriptor, path = tempfile.mkstemp(prefix="cloud_tasks-", dir=folder)
    try:
        os.unlink(path)  # noqa: PTH108 - a child imports no pathlib
        _fill(descriptor, content, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _fill(descriptor: int, content: bytes, size: int) -> None:
    # Written, not truncated to size: a page that has no room behind it is a bus error.
    if os.write(descriptor, content) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if size:
        os.ftruncate(descriptor, size)
