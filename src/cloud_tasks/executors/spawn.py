"""Run each task in a fresh process; each slot boots the next one ahead."""

from __future__ import annotations

from typing import ClassVar

from cloud_tasks.executors.pool.pool import SlotPool


class SpawnExecutor(SlotPool):
    """A fresh process for each task; for tasks that leak memory, handles or state."""

    reused: ClassVar[bool] = False
    #: A socket and a death watch, of the process and of the next one.
    descriptors_per_slot: ClassVar[int] = 4
