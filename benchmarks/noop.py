"""Measure no-op tasks in reused processes: the whole worker against pools and the floor."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.contest import Contest, Contestant
from benchmarks.results import Aim

ROUNDS = 7
FLOOR = "floor: pipes, a line a task"
OURS = "cloud_tasks, loky"


def contests(quick: bool) -> Sequence[Contest]:
    fast, slow = (600, 300) if quick else (50_000, 10_000)
    pools = {"loky": "loky, reusable", "joblib": "joblib, batches of 1"}
    pools |= {"futures": "concurrent.futures", "mp_pool": "multiprocessing.Pool"}
    pools |= {"pebble": "Pebble, timeout armed"}
    contestants = [
        Contestant(FLOOR, "benchmarks.floors:pipes", {"tasks": fast}),
        Contestant(OURS, "benchmarks.ours:run", {"tasks": fast}),
        *(
            Contestant(name, f"benchmarks.pools:{function}", {"tasks": slow}, peer=True)
            for function, name in pools.items()
        ),
    ]
    pebble = pools["pebble"]
    aims = [
        Aim("no-op tasks a second / Pebble's", OURS, "per_second", 1.6, None, pebble),
        Aim("no-op tasks a second / the floor's", OURS, "per_second", 0.6, 0.9, FLOOR),
        Aim("CPU a no-op task / the floor's", OURS, "cpu_us_tree", 1.5, 1.1, FLOOR, most=True),
    ]
    return [Contest("no-op tasks, 2 slots", "per_second", FLOOR, contestants, aims)]
