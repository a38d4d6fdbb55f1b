"""Check that a test leaves no process.

Imported where processes are started: by the conftest of a folder for its tests, or by a module for
its own. Tests that start none don't pay for the look at all processes of the machine.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cloud_tasks.executors.common.protocol import MARK
from cloud_tasks.testing import eventually

#: In the environment of everything that this test process starts, orphans included.
OURS = f"CLOUD_TASKS_TEST_RUN={os.getpid()}."
#: How processes of a pool that is not ours are started: only wider fixtures hold such pools.
_FOREIGN = re.compile(r"multiprocessing\.spawn|loky\.backend")
#: Seconds that the end of a process may take after the test; a busy machine needs some.
_PATIENCE = 30.0


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves a process; what wider fixtures hold may stay."""
    processes = set(_descendants())
    pools = {mark for process in processes for mark in _pools_of(process)}
    yield
    if left := _left_over(processes, pools):
        shown = [_shown(process) for process in left]
        eventually(
            lambda: not _left_over(processes, pools), _PATIENCE, what=f"left behind: {shown}"
        )


def _descendants() -> list[psutil.Process]:
    me = psutil.Process()
    found = {process.pid: process for process in me.children(recursive=True)}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) not in found:
            with contextlib.suppress(OSError, psutil.Error):
                if OURS.encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = psutil.Process(int(entry.name))
    return list(found.values())


def _left_over(before: set[psutil.Process], pools: set[str]) -> list[psutil.Process]:
    return [p for p in _descendants() if p not in before and not _may_stay(p, pools)]


def _may_stay(process: psutil.Process, pools: set[str]) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE and process.ppid() != os.getpid():
            return True  # nobody but its parent, which is not of ours, can do anything about it
        if "resource_tracker" in " ".join(process.cmdline()):
            return True  # multiprocessing's and loky's live as long as the process itself
        # A pool of a wider fixture may have replaced its own processes, and nothing more.
        mine = _pools_of(process)
        foreign = not mine and _FOREIGN.search(" ".join(process.cmdline()))
        started_here = process.ppid() == os.getpid() or _is_zygote(process.parent())
        return started_here and (bool(foreign) or not mine.isdisjoint(pools))
    except psutil.Error:
        return True


def _is_zygote(process: psutil.Process | None) -> bool:
    """Whether it forks processes for a pool of ours."""
    if process is None or process.ppid() != os.getpid():
        return False
    return "executors.child.zygote" in " ".join(process.cmdline())


def _pools_of(process: psutil.Process) -> set[str]:
    """The pool that *process* belongs to: by a child's environment or a watchdog's argument."""
    with contextlib.suppress(psutil.Error, OSError):
        mark = process.environ().get(MARK)
        if mark is not None:
            return {mark.partition(".")[0]}
        prefix = f"{MARK}="
        words = [word for word in process.cmdline() if word.startswith(prefix)]
        return {word.removeprefix(prefix).rstrip(".") for word in words}
    return set()


def _shown(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {process.status()} {' '.join(process.cmdline())[:200]}"
    return f"{process.pid} (gone)"
