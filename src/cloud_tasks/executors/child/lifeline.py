"""Have the kernel kill this process and its group once the worker is gone.

The watchdog does so, too (pool/watchdog.py), and reaches further: other sessions, and programs that
C code keeps from running any Python. This is for the case that both were killed together.

The worker alone holds the writing end of a pipe, and writes nothing. Each child opens the other end
for itself and asks for a signal to its process group when something happens there; nothing can, but
the end of the worker. A parent-death signal would not do: it is tied to the thread that started the
child, and reaches this process alone. Nor would a thread that reads: C code may hold the
interpreter's lock.
"""

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloud_tasks.executors.common.worker_files import WorkerFile


def die_with_worker(lifeline: WorkerFile) -> None:
    """Have this process group killed when the worker ends; call it once it has its own group.

    Does nothing where the kernel has no such signal (Linux alone has), or without /proc.
    """
    import fcntl

    if not hasattr(fcntl, "F_SETSIG"):
        return
    descriptor = lifeline.open(os.O_RDONLY | os.O_NONBLOCK)
    if descriptor is None:
        return
    with contextlib.suppress(OSError):  # a sandbox may not know these
        fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    # It may have ended just before.
    with contextlib.suppress(BlockingIOError):
        if not os.read(descriptor, 1):
            os.killpg(0, signal.SIGKILL)
