"""Measure the memory of a worker after some tasks: of the parent, and unshared of a child."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest import Contest, Contestant
from benchmarks.held import held
from benchmarks.results import Aim
from benchmarks.usage import status

ROUNDS = 3
_EXECUTORS = ("loky", "forkserver", "spawn")
_CHILD_MIB = {"loky": 13, "forkserver": 7}


def contests(quick: bool) -> Sequence[Contest]:
    contestants = [
        Contestant(
            f"cloud_tasks, {executor}",
            "benchmarks.memory:ours",
            {"executor": executor, "before": 20 if quick else before},
        )
        for executor, before in zip(_EXECUTORS, (5000, 2000, 20), strict=True)
    ]
    reference = contestants[0].name
    aims = [
        Aim("resident memory of the parent", reference, "parent_mib", 30, most=True, unit=" MiB")
    ]
    aims += [
        Aim(f"memory of a child alone, {executor}", f"cloud_tasks, {executor}", "child_uss_mib",
            most, most=True, unit=" MiB")
        for executor, most in _CHILD_MIB.items()
    ]  # fmt: skip
    return [Contest("memory, 2 slots", "parent_mib", reference, contestants, aims)]


def ours(*, executor: str, before: int) -> dict[str, float]:
    with held(executor, 2, before) as run:
        return {
            "parent_mib": status(run.worker, "VmRSS"),
            "parent_peak_mib": status(run.worker, "VmHWM"),
            "child_uss_mib": statistics.median(map(own_memory, run.children)),
        }


def own_memory(pid: int) -> float:
    """Return the MiB that *pid* shares with no other process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
