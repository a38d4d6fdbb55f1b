"""Measure the memory, CPU and descriptors of this machine: what is free, and what is in use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from cloud_tasks.system.cgroups import ControlGroups


def free_memory() -> int:
    """Return the bytes that a process can still get from the machine and its control group.

    Raises:
        OSError: no descriptor is left to read them with.
    """
    of_machine = int(psutil.virtual_memory().available)
    of_group = ControlGroups().free_memory()
    return of_machine if of_group is None else min(of_machine, of_group)


def free_descriptors() -> int | None:
    """Return how many more files this process may open; None: no limit, or not known."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        used = sum(1 for _ in Path("/dev/fd").iterdir())
    except (ImportError, OSError):
        return None
    if limit == resource.RLIM_INFINITY:
        return None
    return int(limit) - used


@dataclass(frozen=True, slots=True)
class MachineUse:
    """Load of the whole machine, by all its processes.

    Attributes:
        cpu_percent: of all CPUs together, 0 to 100, since the last measurement.
        used: bytes of memory in use.
        total: bytes of memory.
    """

    cpu_percent: float
    used: int
    total: int


def machine_use() -> MachineUse:
    """Return the load since the last call; the first one begins the measurement of the CPUs."""
    memory = psutil.virtual_memory()
    return MachineUse(psutil.cpu_percent(), memory.total - memory.available, memory.total)
