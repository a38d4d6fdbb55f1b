"""Open files of the worker's that have no name, through the links to its descriptors in /proc.

A file without a name can't be removed by a cleaner of /dev/shm or at a logout, and is gone when the
worker is, however that ended. What a child can't do without, it inherits as a descriptor. This is
for the rest: a descriptor that is opened here has a position and flags of its own, and none has to
be handed down through every way to start a process.
"""

from __future__ import annotations

import os


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
