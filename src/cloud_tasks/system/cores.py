"""The cores of this machine."""

from __future__ import annotations

import os


def usable() -> int:
    """Return how many cores this process may run on; a limit of a control group is not among it."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
