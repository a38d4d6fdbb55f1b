"""Run each task in a fresh process; each slot boots the next one ahead."""

from __future__ import annotations

import socket
from typing import ClassVar

from cloud_tasks.executors.pool.launcher import Interpreter
from cloud_tasks.executors.pool.pool import SlotPool
from cloud_tasks.executors.pool.state import Descriptors, Handle


class SpawnExecutor(SlotPool):
    """A fresh process for each task; for tasks that leak memory, handles or state."""

    reused: ClassVar[bool] = False
    #: A socket and a death watch, of the process and of the next one.
    descriptors_per_slot: ClassVar[int] = 4

    def _launch(
        self, end: socket.socket, cookie: bytes, inherited: Descriptors, environment: dict[str, str]
    ) -> Handle:
        return Interpreter("main", end, cookie, inherited, environment)
