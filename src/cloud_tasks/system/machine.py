"""Report what this machine has left, and how much of it is in use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from cloud_tasks.system.cgroups import ControlGroups


def free_memory() -> int:
    """Return the bytes that a process could still get: of the machine, or its control group.

    Raises:
        OSError: no descriptor is left to look with.
    """
    of_machine = int(psutil.virtual_memory().available)
    of_group = ControlGroups().free_memory()
    return of_machine if of_group is None else min(of_machine, of_group)


def free_descriptors() -> int | None:
    """Return how many more files this process may open; None: cannot be known here."""
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
    """How much of this machine is in use, by whomever.

    Attributes:
        cpu_percent: of all its CPUs together, since the last look.
        used: bytes of memory.
        total: bytes that there are.
    """

    cpu_percent: float
    used: int
    total: int


class MachineWatch:
    """Looks at the whole machine now and then."""

    def __init__(self) -> None:
        # The first answer is about no time at all.
        psutil.cpu_percent()

    def look(self) -> MachineUse:
        """Return its use since the last look."""
        memory = psutil.virtual_memory()
        return MachineUse(psutil.cpu_percent(), memory.total - memory.available, memory.total)
