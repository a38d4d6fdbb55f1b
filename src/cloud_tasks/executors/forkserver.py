"""A fresh process for each task, forked from one that has imported the user's module.

Each slot has such a process of its own, its zygote, started as ``spawn`` starts one. It forks and
does nothing else, so a fork costs what the kernel takes for it.
"""

from __future__ import annotations

import os
import socket
from typing import ClassVar

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.executors.pool.launcher import Interpreter
from cloud_tasks.executors.pool.pool import SlotPool
from cloud_tasks.executors.pool.processes import ChildProcesses
from cloud_tasks.executors.pool.state import Descriptors, Handle
from cloud_tasks.executors.pool.zygotes import ForkingNursery


class ForkserverExecutor(SlotPool):
    """A fresh process for each task, for a fraction of what starting one costs.

    What the user's module does at its import is done once a slot, and must bear a fork: threads
    that it starts are missing in the processes of tasks, and what it opens is shared by them.
    """

    reused: ClassVar[bool] = False
    #: The zygote's socket and death watch; a socket of the process and of the next one.
    descriptors_per_slot: ClassVar[int] = 4
    nursery: ClassVar[type[ChildProcesses]] = ForkingNursery

    def _prepare(self) -> None:
        if not hasattr(os, "pidfd_open"):
            raise ConfigurationError(
                "the executor forkserver needs Linux 5.3 or newer: use --executor spawn"
            )

    def _launch(
        self,
        end: socket.socket,
        token: bytes,
        inherited: Descriptors,
        environment: dict[str, str],
    ) -> Handle:
        return Interpreter(
            "zygote",
            f"{end.fileno()}, {token!r}, {inherited.control}, log={inherited.log}",
            inherited=[end.fileno(), inherited.control, inherited.log],
            environment=environment,
        )
