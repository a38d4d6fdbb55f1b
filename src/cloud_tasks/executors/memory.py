"""Watching what the process trees of running tasks use."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from cloud_tasks.executors import process
from cloud_tasks.executors.engine import Engine
from cloud_tasks.executors.slot import Job

logger = logging.getLogger(__name__)

#: Seconds between two looks.
_PERIOD = 0.1


class MemoryWatch:
    """Looks at every running task of *engine* and has those over *limit* bytes ended.

    In a thread of its own: a look walks over all processes of the machine.
    """

    def __init__(self, engine: Engine, limit: int) -> None:
        self._engine = engine
        self._limit = limit
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
        while not self._stop.wait(_PERIOD):
            for pid, job in self._engine.busy():
                used = process.tree_memory(pid)
                if used > self._limit:
                    self._engine.tell(self._verdict(job, used))

    def _verdict(self, job: Job, used: int) -> Callable[[], None]:
        return lambda: self._engine.over_memory(job, self._limit, used)
