"""Measure the CPU of a worker's parent while every slot is busy and nothing happens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest import Contest, Contestant
from benchmarks.held import held
from benchmarks.results import Aim
from benchmarks.usage import own_cpu_seconds

ROUNDS = 3
_EXECUTORS = ("loky", "forkserver")


def contests(quick: bool) -> Sequence[Contest]:
    contestants = [
        Contestant(
            f"cloud_tasks, {executor}",
            "benchmarks.idle:ours",
            {"executor": executor, "seconds": 1 if quick else 30},
        )
        for executor in _EXECUTORS
    ]
    aims = [
        aim
        for one, executor in zip(contestants, _EXECUTORS, strict=True)
        for aim in (
            Aim(f"idle parent, {executor}", one.name, "cpu_percent", 0.05, most=True, unit=" %"),
            Aim(f"wake-ups of the idle parent, {executor}", one.name, "wakes_per_second", None, 0,
                most=True, unit=" a second"),
        )
    ]  # fmt: skip
    return [Contest("idle parent, 2 slots", "cpu_percent", contestants[0].name, contestants, aims)]


def ours(*, executor: str, seconds: float) -> dict[str, float]:
    with held(executor, 2) as run:
        time.sleep(1.0)  # until what follows a start is over
        cpu, wakes, began = own_cpu_seconds(run.worker), _wakes(run.worker), time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - began
        return {
            "cpu_percent": 100 * (own_cpu_seconds(run.worker) - cpu) / passed,
            "wakes_per_second": (_wakes(run.worker) - wakes) / passed,
        }


def _wakes(pid: int) -> int:
    """Return how often threads of *pid* have gone to sleep by themselves."""
    texts = [status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in texts)
