"""Measure the peak memory of single tasks, and the memory that tasks have left in use."""

from __future__ import annotations

import contextlib
import os

from cloud_tasks.executors.common.call import NOT_MEASURED

#: Seconds. A task is measured only if the one before it took as long, because measuring takes six
#: system calls (two files of /proc), more than a very short task itself.
WORTH_MEASURING = 0.005


class PeakMemory:
    """Measure the peak memory of one task after the other in a reused process.

    The kernel's high-water mark never falls by itself, so it is reset before a task.
    """

    def __init__(self) -> None:
        self._enabled = True
        self._was_reset = False

    def before(self) -> None:
        """Reset the mark before a task, unless the last task was too short."""
        if self._enabled:
            try:
                with open("/proc/self/clear_refs", "wb", buffering=0) as file:  # noqa: PTH123
                    file.write(b"5")
                self._was_reset = True
            except OSError:
                self._was_reset = False

    def after(self, run_time: float) -> float:
        """Return the peak in MiB of a task that took *run_time* s; NaN if it was not measured."""
        was_reset, self._was_reset = self._was_reset, False
        self._enabled = run_time >= WORTH_MEASURING
        if not was_reset:
            return NOT_MEASURED
        try:
            with open("/proc/self/status", "rb", buffering=0) as file:  # noqa: PTH123
                text = file.read(4096)
            return int(text.partition(b"VmHWM:")[2].split(None, 1)[0]) / 1024
        except (OSError, ValueError, IndexError):
            return NOT_MEASURED


class PeakMemoryOfForked:
    """Measure the peak memory of the only task of a forked process, whose mark needs no reset."""

    def before(self) -> None:
        """Do nothing."""

    def after(self, run_time: float) -> float:
        """Return the peak in MiB."""
        import resource  # not on every platform

        # Only right after a fork: ru_maxrss survives an exec, and would count what was before it.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tree_exceeds(limit: int) -> bool:
    """Return whether this process and those below it hold more than *limit* bytes."""
    pids = [os.getpid()]
    for pid in pids:
        pids += map(int, _read(f"{pid}/task/{pid}/children").split())
    pages = sum(_number(_read(f"{pid}/statm").partition(b" ")[2]) for pid in pids)
    if pages * os.sysconf("SC_PAGESIZE") <= limit:
        return False
    # Pages of mapped files do not count, and shared ones once, which takes longer to read.
    name, prefix = ("status", b"\nRss") if len(pids) == 1 else ("smaps_rollup", b"\nPss_")
    texts = [_read(f"{pid}/{name}") for pid in pids]
    kinds = (prefix + b"Anon:", prefix + b"Shmem:")
    return sum(_number(text.partition(kind)[2]) for text in texts for kind in kinds) * 1024 > limit


def _read(name: str) -> bytes:
    """Return the text of a file in /proc; empty where the process has ended, or not on Linux."""
    with contextlib.suppress(OSError), open(f"/proc/{name}", "rb", buffering=0) as file:  # noqa: PTH123
        return file.read(65536)
    return b""


def _number(text: bytes) -> int:
    """Return the number at the beginning of *text*; 0: there is none."""
    words = text.split(None, 1)
    return int(words[0]) if words else 0
