"""Looking at other processes, and ending them: the part that differs between platforms."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil

#: Set in the environment of every child, so that what it leaves behind can be found.
MARK = "CLOUD_TASKS_CHILD"


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
    """Return all processes below *pid*, whatever their group or session."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill *processes* as far as they exist; a number taken over by another one is left alone."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


def marked(token: str) -> dict[int, str]:
    """Return the processes of the executor *token* by pid, each with the serial of its child."""
    prefix = f"{MARK}={token}.".encode()
    found = {}
    for pid, environment in _environments():
        at = environment.find(prefix)
        if at >= 0 and pid != os.getpid():
            serial = environment[at + len(prefix) :].partition(b"\0")[0]
            found[pid] = serial.decode("ascii", "replace")
    return found


def _environments() -> Iterable[tuple[int, bytes]]:
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
    """Return the processes whose session was begun by one of *leaders*."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getsid(pid) in leaders:
                found.append(pid)
    return found


def runs(pid: int) -> bool:
    """True if *pid* exists and has not ended; a zombie has."""
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def tree_memory(pid: int) -> int:
    """Return the bytes of memory that *pid* and all below it use.

    Pages that several of them share count once, where the kernel can tell.
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


class OomWatch:
    """Tells whether a SIGKILL that nobody of us sent was the kernel's, for want of memory."""

    def __init__(self) -> None:
        self._kills = _oom_kills()

    def hint(self, exit_code: int | None) -> str | None:
        """Return a likely reason for a death with *exit_code*; None: there is none to offer."""
        if exit_code != -signal.SIGKILL:
            return None
        before, self._kills = self._kills, _oom_kills()
        return "out of memory" if self._kills > before else None


def _oom_kills() -> int:
    """Return how often the kernel's out-of-memory killer struck in this control group."""
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip()
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text()
        return int(events.partition("oom_kill ")[2].split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def free_descriptors() -> int | None:
    """Return how many more files this process may open; None: cannot be known here."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        used = sum(1 for _ in Path("/dev/fd").iterdir())
    except (ImportError, OSError):
        return None
    if limit == resource.RLIM_INFINITY:
        return None
    return int(limit) - used
