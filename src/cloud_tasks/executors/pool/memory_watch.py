"""Measure the memory of running tasks, and end those over the limit."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial

from cloud_tasks.executors.pool.loop import PoolLoop
from cloud_tasks.system import machine, processes
from cloud_tasks.system.shortage import start_thread

logger = logging.getLogger(__name__)

#: Seconds between two measurements where there is a limit.
_PERIOD = 0.1
#: Where there is none: seconds at first, and after a while without change.
_SHORTEST, _LONGEST = 0.5, 4.0
#: A smaller share of change counts as none.
_CHANGE = 1 / 16


class MemoryWatch:
    """Records what each running task uses, and has tasks over the limit ended.

    In its own thread, because to measure process trees is to walk over all processes of the
    machine. Without a limit only the task's own process is measured, and less often, up to every
    4 s while nothing changes.

    Args:
        limit: bytes; None: there is no limit.
        on_measured: called in turn after each measurement, and once more at the end.
    """

    def __init__(
        self, loop: PoolLoop, limit: int | None, on_measured: Sequence[Callable[[], None]]
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._on_measured = on_measured
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloud_tasks-memory", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        start_thread(self._thread)

    def stop(self) -> None:
        """End the thread; blocks until it has."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._measure_until_stopped()
        except BaseException as error:
            # Without it, no limit would be enforced any more.
            logger.exception("measuring the memory of tasks failed")
            self._loop.call_soon(partial(self._loop.fail, f"measuring memory failed: {error!r}"))

    def _measure_until_stopped(self) -> None:
        period = _SHORTEST if self._limit is None else _PERIOD
        while not self._stop.wait(period):
            quiet = False
            # If no descriptor is left to measure with, there may be one the next time.
            with contextlib.suppress(OSError):
                quiet = self._measure()
            self._call_back()
            if self._limit is None:
                period = min(2 * period, _LONGEST) if quiet else _SHORTEST
        self._call_back()

    def _call_back(self) -> None:
        for call in self._on_measured:
            call()

    def _measure(self) -> bool:
        """Measure all running tasks; True if nothing has changed."""
        free: int | None = None
        quiet = True
        for pid, job in self._loop.busy():
            if self._limit is None:
                used = processes.own_memory(pid)
            else:
                used = processes.tree_memory(pid)
                if used > self._limit:
                    end = partial(self._loop.end_over_memory, job, self._limit, used)
                    self._loop.call_soon(end)
            before, job.memory = job.memory, used or job.memory
            quiet = quiet and before is not None and abs(used - before) <= _CHANGE * before
            if job.free_memory is None:
                free = machine.free_memory() if free is None else free
                job.free_memory = free
        return quiet
