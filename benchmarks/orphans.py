"""What a contestant leaves behind is waited for, so that its CPU is not taken for that of others.

A fork server, or a process that watches over others, may end after the one that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator

from benchmarks.usage import descendants

_PR_SET_CHILD_SUBREAPER = 36
#: Seconds that they may take.
_PATIENCE = 5.0


@contextlib.contextmanager
def awaited() -> Iterator[None]:
    """Wait at the end for all that was started meanwhile, orphans included; some seconds."""
    before = set(descendants())
    _adopt(True)
    try:
        yield
        _reap(before)
    finally:
        _adopt(False)


def _adopt(wanted: bool) -> None:
    """Make orphans among this process's descendants its children, or not."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def _reap(before: set[int]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (left := set(descendants()) - before) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ChildProcessError):  # its own parent is still there
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.005)
