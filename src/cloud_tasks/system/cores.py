"""Count the cores that this process may use; apart from ``machine``, which imports psutil."""

from __future__ import annotations

import os

#: Set by Slurm for each task of a job: where nothing binds the process to its cores, only this
#: tells that the others belong to somebody else.
_SLURM = "SLURM_CPUS_PER_TASK"


def usable() -> int:
    """Return the number of cores of this process's affinity, or of the machine where it has none.

    Never more than Slurm gave to it. The limit of a control group is not taken into account.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    found = len(affinity(0)) if affinity else os.cpu_count() or 1
    share = _slurm_share()
    return found if share is None else min(found, share)


def usable_within_limits() -> int:
    """Return the number of usable cores by affinity, Slurm and control group."""
    # Imported here because it takes 0.1 s, and few callers need it.
    import loky

    return min(usable(), int(loky.cpu_count()))


def _slurm_share() -> int | None:
    """Return the cores that Slurm gave to each task of its job; None without a positive number."""
    text = os.environ.get(_SLURM, "").strip()
    # Slurm writes plain digits; anything else was set by somebody else and says nothing.
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    return number or None
