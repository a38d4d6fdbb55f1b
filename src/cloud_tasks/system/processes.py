"""Looking at other processes, and ending them: the part that differs between platforms."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil


def open_death_watch(pid: int) -> int | None:
    """Return a descriptor that becomes readable when *pid* has ended; None: no such means here.

    A sentinel pipe would be held open by whatever the child forked; a pidfd is not.
    """
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        descriptor: int = opener(pid)
    except OSError:
        return None
    return descriptor


def kill_group(pid: int) -> None:
    """Kill *pid* and its process group at once, as far as they exist.

    The group may not exist yet: a child makes it in its first instructions.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[psutil.Process]:
    """Return all processes below *pid*, whatever their group or session.

    None if no descriptor is left to look with: what bears our mark is found later.
    """
    if not _may_have_children(pid):
        return []
    try:
        return psutil.Process(pid).children(recursive=True)
    except (psutil.Error, OSError):
        return []


def _may_have_children(pid: int) -> bool:
    """Ask the kernel for *pid*'s own, as to walk over all processes of the machine takes longer.

    It may leave some out while others end, but never all; where it does not tell, True.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - the quickest
        return any(Path(f"/proc/{pid}/task/{tid}/children").read_bytes() for tid in threads)
    except OSError:
        return True


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill *processes* as far as they exist; a number taken over by another one is left alone."""
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process.kill()


def environments() -> Iterable[tuple[int, bytes]]:
    """Yield the pid and the environment of every process that may be read."""
    if not sys.platform.startswith("linux"):
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                pairs = process.environ().items()
                yield process.pid, "\0".join(f"{k}={v}" for k, v in pairs).encode()
        return
    # psutil opens four files a process where one is enough.
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                yield int(entry.name), Path(entry.path, "environ").read_bytes()


def in_sessions(leaders: set[int]) -> list[int]:
    """Return the processes whose session was begun by one of *leaders*.

    Raises:
        OSError: no descriptor is left to look with.
    """
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) in leaders:
                found.append(pid)
    return found


def runs(pid: int) -> bool:
    """True if *pid* exists and has not ended; a zombie has.

    Raises:
        OSError: no descriptor is left to look with.
    """
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def tree_memory(pid: int) -> int:
    """Return the bytes of memory that *pid* and all below it use.

    Pages that several of them share count once, where the kernel can tell.

    Raises:
        OSError: no descriptor is left to look with.
    """
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_memory(process, shared_with_others=len(tree) > 1) for process in tree)


def _memory(process: psutil.Process, *, shared_with_others: bool) -> int:
    try:
        if shared_with_others and sys.platform.startswith("linux"):
            return int(process.memory_full_info().pss)
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def own_memory(pid: int) -> int:
    """Return the resident bytes of *pid* alone; 0: it is gone."""
    if not sys.platform.startswith("linux"):
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    # psutil reads three files where one is enough.
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0
