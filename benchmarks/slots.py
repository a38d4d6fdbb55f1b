"""Measure many slots in one parent: rate of no-op tasks, threads, descriptors, boot time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import ours as whole
from benchmarks.contest import Contest, Contestant
from benchmarks.held import held
from benchmarks.results import Aim
from benchmarks.usage import status

ROUNDS = 5
_EXECUTORS = ("loky", "forkserver")


def contests(quick: bool) -> Sequence[Contest]:
    return [_contest(executor, quick) for executor in _EXECUTORS]


def _contest(executor: str, quick: bool) -> Contest:
    numbers = (2, 4) if quick else (2, 64, 256)
    tasks = 50 if quick else {"loky": 30_000, "forkserver": 2_000}[executor]
    contestants = [
        Contestant(
            f"{slots} slots",
            "benchmarks.slots:ours",
            {"executor": executor, "slots": slots, "tasks": tasks},
        )
        for slots in numbers
    ]
    few, many = "2 slots", f"{numbers[1]} slots"
    aims = [
        Aim(f"no-op tasks a second, {many} / {few}, {executor}", many, "per_second", 0.5, 0.8, few),
        Aim(f"threads of the parent, {many}, {executor}", many, "threads", 6, most=True),
        Aim(f"descriptors a slot, {many}, {executor}", many, "descriptors_a_slot", 4, most=True),
    ]
    return Contest(f"slots, {executor}", "per_second", few, contestants, aims)


def ours(*, executor: str, slots: int, tasks: int) -> dict[str, float]:
    figures = whole.run(executor=executor, tasks=tasks, slots=slots, warm=max(200, 4 * slots))
    with held(executor, 1) as run:
        of_one = _descriptors(run.worker)
    with held(executor, slots) as run:
        descriptors = _descriptors(run.worker)
        return {
            **figures,
            "threads": status(run.worker, "Threads"),
            "descriptors": descriptors,
            "descriptors_a_slot": (descriptors - of_one) / (slots - 1),
            "boot_s": run.boot,
        }


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
