"""Watching what the processes of running tasks use."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from cloud_tasks.executors.pool.loop import Engine
from cloud_tasks.executors.pool.state import Job
from cloud_tasks.system import machine, processes

#: Seconds between two looks where there is a limit.
_PERIOD = 0.1
#: And where there is none: at first, and when nothing has changed for a while.
_SHORTEST, _LONGEST = 0.5, 4.0
#: What has changed by a smaller share has not.
_LITTLE = 1 / 16


class MemoryWatch:
    """Notes what each running task of *engine* uses, and has those over *limit* bytes ended.

    In a thread of its own: a look at whole process trees walks over all processes of the
    machine. Without a limit, the task's own process is all that is looked at, and less often, the
    less so the less happens.

    Args:
        engine: runs the tasks.
        limit: bytes; None: there is no limit.
        also: called after each look, and once more at the end.
    """

    def __init__(self, engine: Engine, limit: int | None, also: Callable[[], None]) -> None:
        self._engine = engine
        self._limit = limit
        self._also = also
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloud_tasks-memory", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        period = _SHORTEST if self._limit is None else _PERIOD
        while not self._stop.wait(period):
            quiet = False
            # Where no descriptor is left to look with, there may be one the next time.
            with contextlib.suppress(OSError):
                quiet = self._look()
            self._also()
            if self._limit is None:
                period = min(2 * period, _LONGEST) if quiet else _SHORTEST
        self._also()

    def _look(self) -> bool:
        """Look at all; True if nothing is new."""
        busy = self._engine.busy()
        free: int | None = None
        quiet = True
        for pid, job in busy:
            if self._limit is None:
                used = processes.own_memory(pid)
            else:
                used = processes.tree_memory(pid)
                if used > self._limit:
                    self._engine.tell(self._verdict(job, self._limit, used))
            before, job.memory = job.memory, used or job.memory
            quiet = quiet and before is not None and abs(used - before) <= _LITTLE * before
            if job.free_memory is None:
                free = machine.free_memory() if free is None else free
                job.free_memory = free
        return quiet

    def _verdict(self, job: Job, limit: int, used: int) -> Callable[[], None]:
        return lambda: self._engine.over_memory(job, limit, used)
