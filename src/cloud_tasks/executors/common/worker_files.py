"""Open files of the worker's that have no name, through the links to its descriptors in /proc.

A file without a name can't be removed by a cleaner of /dev/shm or at a logout, and is gone when the
worker is, however that ended. What a child can't do without, it inherits as a descriptor. This is
for the rest: a descriptor that is opened here has a position and flags of its own, and none has to
be handed down through every way to start a process.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class WorkerFile:
    """The file behind a *descriptor* of this process, for its children to open. Sent pickled."""

    def __init__(self, descriptor: int) -> None:
        self._path = f"/proc/{os.getpid()}/fd/{descriptor}"
        self._identity = file_identity(descriptor)

    def open(self, flags: int) -> int | None:
        """Open it anew; None if the worker is gone, or can't be looked into.

        Without /proc, on another machine, or as another user, it can't.
        """
        try:
            descriptor = os.open(self._path, flags | os.O_CLOEXEC)
        except OSError:
            return None
        # The worker may have closed it since, or have been on another machine.
        if file_identity(descriptor) != self._identity:
            os.close(descriptor)
            return None
        return descriptor


def use_tracker(tracker: WorkerFile) -> None:
    """Have multiprocessing, once imported, register names with the worker's *tracker*.

    The child's side of pool/shared_tracker.py.
    """
    from multiprocessing import resource_tracker

    mine: Any = resource_tracker._resource_tracker
    if mine._fd is None:
        # As multiprocessing.spawn does in the processes that it starts: there is no public way. If
        # the worker's can't be opened, this stays None, and multiprocessing starts another.
        mine._fd = tracker.open(os.O_WRONLY)


def file_identity(descriptor: int) -> tuple[int, int]:
    """Return the device and inode of the file that *descriptor* refers to.

    Raises:
        OSError: it is closed.
    """
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def identity_or_none(descriptor: int) -> tuple[int, int] | None:
    """Return the identity of the file of *descriptor*; None if it is closed."""
    try:
        return file_identity(descriptor)
    except OSError:
        return None
