"""Run each task in a fresh process, forked from one that has imported the user's module.

Each slot has such a process, its zygote, started as ``spawn`` starts one. It forks and does
nothing else, so that a fork costs only what the kernel takes for it.
"""

from __future__ import annotations

import os
from typing import ClassVar

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.executors.pool.pool import SlotPool
from cloud_tasks.executors.pool.processes import ChildProcesses
from cloud_tasks.executors.pool.zygotes import ForkingProcesses


class ForkserverExecutor(SlotPool):
    """A fresh process for each task, for a fraction of the cost of starting one.

    The user's module is imported once a slot and must be fork-safe: threads that it starts at its
    import are missing in the processes of tasks, and files that it opens are shared by them.
    """

    reused: ClassVar[bool] = False
    #: The zygote's control socket and death watch; the sockets of the process and of the next one.
    descriptors_per_slot: ClassVar[int] = 4
    child_module: ClassVar[str] = "zygote"
    processes: ClassVar[type[ChildProcesses]] = ForkingProcesses

    def _prepare(self) -> None:
        super()._prepare()
        if not hasattr(os, "pidfd_open"):
            raise ConfigurationError(
                "the executor forkserver needs Linux 5.3 or newer: use --executor spawn"
            )
