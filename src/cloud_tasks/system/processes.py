"""Inspect and kill other processes: the part that differs between platforms.

psutil serves all platforms. Where Linux answers with one file instead of several, /proc is read
directly, because these functions run for many processes or many times a second.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil


def fill_standard_descriptors() -> None:
    """Open the null device in the place of standard descriptors that are closed (``>&-``).

    Else the next file that is opened, such as the event log, gets the number of one, and child
    processes, which inherit the three, print into it.

    Raises:
        OSError: no descriptor is to be had.
    """
    opened = os.open(os.devnull, os.O_RDWR)
    while opened <= 2:
        os.set_inheritable(opened, True)
        opened = os.open(os.devnull, os.O_RDWR)
    os.close(opened)


def open_death_watch(pid: int) -> int | None:
    """Return a descriptor that becomes readable when *pid* has ended; None: not available here.

    A pidfd, because processes that a child has forked would keep a sentinel pipe open.
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
    """Send SIGKILL to *pid* and to its process group, as far as they exist.

    The group may not exist yet: a child makes it in its first instructions.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[psutil.Process]:
    """Return all processes below *pid*, of any group or session.

    An empty list if no descriptor is left to read them with: the orphan killer finds those that
    carry our mark later.
    """
    if not _may_have_children(pid):
        return []
    try:
        return psutil.Process(pid).children(recursive=True)
    except (psutil.Error, OSError):
        return []


def _may_have_children(pid: int) -> bool:
    """Return False if *pid* surely has no child, without reading all processes of the machine.

    The kernel's list may lack some children while others end, but never all. True without one.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - the fastest way
        return any(Path(f"/proc/{pid}/task/{tid}/children").read_bytes() for tid in threads)
    except OSError:
        return True


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill *processes* as far as they exist; a process that has got the pid of one is spared."""
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process.kill()


def environments() -> Iterable[tuple[int, bytes]]:
    """Yield the pid and the environment, as in /proc, of every process that we may read."""
    if not sys.platform.startswith("linux"):
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                pairs = process.environ().items()
                yield process.pid, "\0".join(f"{k}={v}" for k, v in pairs).encode()
        return
    # One file a process; psutil opens four.
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                yield int(entry.name), Path(entry.path, "environ").read_bytes()


def in_sessions(leaders: set[int]) -> list[int]:
    """Return the pids of the processes in the sessions that *leaders* began.

    Raises:
        OSError: no descriptor is left to read them with.
    """
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) in leaders:
                found.append(pid)
    return found


def _pids() -> list[int]:
    if not sys.platform.startswith("linux"):
        return psutil.pids()
    # psutil raises IndexError where /proc is empty, as in a chroot.
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdecimal()]


def has_proc() -> bool:
    """Return whether other processes can be inspected here: on Linux that needs /proc."""
    return not sys.platform.startswith("linux") or Path("/proc/self/status").exists()


def runs(pid: int) -> bool:
    """Return whether *pid* exists and has not ended; a zombie has ended.

    Raises:
        OSError: no descriptor is left to read it with.
    """
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def tree_memory(pid: int) -> int:
    """Return the bytes of memory that *pid* and all processes below it use; 0 if it is gone.

    On Linux, pages that several of them share count once, and pages of mapped files do not count:
    the kernel drops them when it needs room, so they keep no other process from memory.

    Raises:
        OSError: no descriptor is left to read them with.
    """
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_memory(process, shared_with_others=len(tree) > 1) for process in tree)


def _memory(process: psutil.Process, *, shared_with_others: bool) -> int:
    try:
        if not sys.platform.startswith("linux"):
            return int(process.memory_info().rss)
    except psutil.Error:
        return 0
    # Shares of shared pages take the kernel a walk over all pages, so only where there are any.
    name, prefix = ("smaps_rollup", "Pss_") if shared_with_others else ("status", "Rss")
    try:
        lines = Path(f"/proc/{process.pid}/{name}").read_bytes().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    names = (f"{prefix}Anon:".encode(), f"{prefix}Shmem:".encode())
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))


def own_memory(pid: int) -> int:
    """Return the resident bytes of *pid* alone; 0 if it is gone."""
    if not sys.platform.startswith("linux"):
        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
        return 0
    # One file; psutil reads three.
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError):
        return 0
