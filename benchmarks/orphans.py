"""Wait for processes that a contestant leaves behind, so that their CPU is not counted elsewhere.

A fork server or a watchdog process may end after the process that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator

from benchmarks.usage import descendants

_PR_SET_CHILD_SUBREAPER = 36
#: Seconds that the processes may take to end.
_PATIENCE = 5.0


@contextlib.contextmanager
def awaited() -> Iterator[None]:
    """Wait, at the end of the block, some seconds for all processes started in it, also orphans."""
    before = set(descendants())
    _adopt(True)
    try:
        yield
        _reap(before)
    finally:
        _adopt(False)


def _adopt(wanted: bool) -> None:
    """Make this process a subreaper, which adopts orphaned descendants, or no longer."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def _reap(before: set[int]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (left := set(descendants()) - before) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ChildProcessError):  # its own parent is still there
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.005)
