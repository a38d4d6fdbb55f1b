"""Measure CPU per task by the number of tasks, the size of results and the number of slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.contest import Contest, Contestant
from benchmarks.results import Aim

ROUNDS = 3
_COUNTS = (10_000, 100_000, 1_000_000)
#: Bytes of a result, and the number of tasks.
_RESULTS = {1: 30_000, 100: 30_000, 10_000: 10_000, 1_000_000: 300}
_SLOTS = (1, 2, 4, 16, 64, 256)


def contests(quick: bool) -> Sequence[Contest]:
    return [_by_count(quick), _by_size(quick), _by_slots(quick)]


def _contestant(name: str, **arguments: Any) -> Contestant:
    return Contestant(name, "benchmarks.ours:run", arguments)


def _by_count(quick: bool) -> Contest:
    counts = [count // 100 for count in _COUNTS[:2]] if quick else list(_COUNTS)
    contestants = [_contestant(f"{count:,} tasks", tasks=count) for count in counts]
    few, many = contestants[0].name, contestants[-1].name
    ratio = f"CPU a task, {many} / {few}"
    aims = [
        Aim(ratio, many, "cpu_us_tree", 1.1, 1.0, few, most=True),
        Aim(f"peak memory of the parent, {many} - {few}", many, "parent_peak_mib", 5, None, few,
            difference=True, most=True, unit=" MiB"),
    ]  # fmt: skip
    return Contest("by the number of tasks, 2 slots", "cpu_us_tree", few, contestants, aims)


def _by_size(quick: bool) -> Contest:
    contestants = [
        _contestant(
            f"{size:,} bytes",
            function="benchmarks.tasks:give",
            tasks=10 if quick else tasks,
            bytes=size,
        )
        for size, tasks in _RESULTS.items()
    ]
    title = "by the size of a result, 2 slots"
    return Contest(title, "cpu_us_tree", contestants[0].name, contestants)


def _by_slots(quick: bool) -> Contest:
    contestants = [
        _contestant(
            f"{slots} slots",
            slots=slots,
            tasks=50 if quick else 20_000,
            warm=max(200, 4 * slots),
        )
        for slots in (_SLOTS[:3] if quick else _SLOTS)
    ]
    return Contest("by the number of slots", "cpu_us_tree", "2 slots", contestants)
