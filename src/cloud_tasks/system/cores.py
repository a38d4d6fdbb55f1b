"""Count the cores that this process may use; apart from ``machine``, which imports psutil."""

from __future__ import annotations

import os


def usable() -> int:
    """Return the number of cores of this process's affinity, or of the machine where it has none.

    The limit of a control group is not taken into account.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
