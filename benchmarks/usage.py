"""Measure the CPU time of a process and all its descendants, in microseconds.

Other processes can read the CPU clock of a process in nanoseconds. Reaped children count with it,
in ticks of mostly 10 ms; so do children that have ended and are not reaped yet.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Attempts to read all processes without one of them ending meanwhile.
_LOOKS = 5
_TICK = os.sysconf("SC_CLK_TCK")
#: Positions of fields of ``/proc/PID/stat``, counted after the name.
_STATE, _PARENT, _USER, _SYSTEM, _REAPED_USER, _REAPED_SYSTEM = 0, 1, 11, 12, 13, 14


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU use up to one moment.

    Attributes:
        wall: seconds of the monotonic clock.
        parent: CPU seconds of this process, all of its threads.
        tree: the same with all its descendants, those that have ended included.
        looking: CPU seconds of this measurement itself, after it had read the clocks above.
    """

    wall: float
    parent: float
    tree: float
    looking: float = 0.0

    @classmethod
    def now(cls) -> Usage:
        """Measure now."""
        wall, parent, began = time.monotonic(), time.process_time(), time.thread_time()
        return cls(wall, parent, parent + _others(), time.thread_time() - began)

    def figures(self, since: Usage, tasks: int, slots: int) -> dict[str, float]:
        """Return the figures of *tasks* since then: rate, microseconds, share of the cores."""
        wall = max(1e-9, self.wall - since.wall)
        parent = self.parent - since.parent - since.looking
        tree = self.tree - since.tree - since.looking
        usable = min(slots, os.cpu_count() or 1)
        return {
            "per_second": tasks / wall,
            "cpu_us_tree": tree / tasks * 1e6,
            "cpu_us_parent": parent / tasks * 1e6,
            "children_busy": (tree - parent) / wall / usable,
        }


def timed(work: Callable[[], object], tasks: int, slots: int) -> dict[str, float]:
    """Run *work*, which does *tasks* tasks; return its figures."""
    before = dataclasses.replace(Usage.now(), wall=time.monotonic())
    work()
    return Usage.now().figures(before, tasks, slots)


def _others() -> float:
    """Return the CPU seconds of all descendants of this process."""
    reaped, alive, looks = -1.0, 0.0, 0
    # A child reaped during the reading would be in neither sum.
    while reaped != (now := _reaped()) and looks < _LOOKS:
        reaped, looks = now, looks + 1
        alive = sum(map(cpu_seconds, descendants()))
    return reaped + alive


def _reaped() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _stat(pid: int | str) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def descendants(pid: int | None = None) -> list[int]:
    """Return the pids of the living descendants of *pid*, by default of this process."""
    children = defaultdict(list)
    for entry in os.listdir("/proc"):  # noqa: PTH208 - the quickest, and its own CPU counts
        if entry.isdigit():
            try:
                children[int(_stat(entry)[_PARENT])].append(int(entry))
            except OSError:
                continue  # it has just ended
    found = list(children[pid or os.getpid()])
    for other in found:
        found += children[other]
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of *pid* and its reaped children; 0 if it has ended."""
    try:
        fields = _stat(pid)
        reaped = int(fields[_REAPED_USER]) + int(fields[_REAPED_SYSTEM])
        if fields[_STATE] == "Z":
            return (reaped + int(fields[_USER]) + int(fields[_SYSTEM])) / _TICK
        return reaped / _TICK + own_cpu_seconds(pid)
    except OSError:
        return 0.0


def own_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of *pid* alone, all of its threads.

    Raises:
        OSError: the process has ended.
    """
    return time.clock_gettime((~pid << 3) | 2)  # as Linux numbers the clocks of processes


def status(pid: int | str, key: str) -> float:
    """Return a number of ``/proc/PID/status``, converted from kB to MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    number, *unit = text.partition(f"\n{key}:")[2].partition("\n")[0].split()
    return int(number) / 1024 if unit else int(number)


class Marks:
    """Measurements requested by tasks through :func:`benchmarks.light.mark`.

    Args:
        path: where to make the FIFO that tasks write to.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        #: In the order of the moments.
        self.taken: list[Usage] = []
        self._fifo = os.open(path, os.O_RDWR)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while os.read(self._fifo, 1) == b".":
            self.taken.append(Usage.now())

    def close(self) -> None:
        """Stop listening; blocks until all requested measurements are taken."""
        os.write(self._fifo, b"!")
        self._thread.join()
        os.close(self._fifo)
