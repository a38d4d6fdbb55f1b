"""Run tasks in processes that are reused from task to task: the default executor.

It has the name of the library loky, whose reusable processes were its model and, before version
0.2, its processes. See docs/reference/executors.md for the reasons against loky's own pool.
"""

from __future__ import annotations

from typing import ClassVar

from cloud_tasks.executors.pool.pool import SlotPool


class LokyExecutor(SlotPool):
    """Child processes that are reused; for throughput."""

    reused: ClassVar[bool] = True
    #: A socket, a death watch and the permits.
    descriptors_per_slot: ClassVar[int] = 3
