"""Processes that lost their parent below this one: they become its children, and can be ended.

Linux gives an orphan to the nearest process above it that has asked for them. So what a task
started in the manner of a daemon is found at the task's end.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Collection

#: Set in the environment of every child, to its run and its serial, so that what it leaves behind
#: can be found.
MARK = "CLOUD_TASKS_CHILD"
_PR_SET_CHILD_SUBREAPER = 36


@functools.cache
def _prctl() -> Callable[..., int] | None:
    try:
        import ctypes

        call: Callable[..., int] = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return call


def adopt() -> None:
    """Have orphans below this process become its children; nothing where that can't be."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Return this process's children, zombies too; none where the kernel does not tell."""
    pid = os.getpid()
    try:
        descriptor = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return set()
    try:
        return set(map(int, os.read(descriptor, 2**20).split()))
    finally:
        os.close(descriptor)


def end(keep: Collection[int]) -> bool:
    """Kill and reap all children but those to *keep*; True if none of the others is left.

    Does not wait for their deaths, and whoever is killed may have forked just before: call it again
    until it says so.
    """
    strangers = children().difference(keep)
    for pid in strangers:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.waitpid(pid, os.WNOHANG)
    return not strangers
