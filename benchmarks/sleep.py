"""Compare 100 sleeping tasks of 0.1 s with the ideal time, from first start to last event."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from benchmarks.contest import Contest, Contestant
from benchmarks.files import read_events
from benchmarks.ours import worker, write_tasks
from benchmarks.results import Aim

ROUNDS = 5
SECONDS = 0.1
#: The target by number of slots, and a better one.
_SHARES = {2: (0.97, 0.99), 4: (0.95, 0.99)}


def contests(quick: bool) -> Sequence[Contest]:
    return [_contest(slots, 10 if quick else 100) for slots in _SHARES]


def _contest(slots: int, tasks: int) -> Contest:
    executors = {f"cloud_tasks, {name}": name for name in ("loky", "forkserver")}
    size = {"tasks": tasks, "slots": slots}
    contestants = [
        Contestant(name, "benchmarks.sleep:ours", {"executor": executor, **size})
        for name, executor in executors.items()
    ]
    for peer, name in (("futures", "concurrent.futures"), ("pebble", "Pebble, timeout armed")):
        arguments = {"peer": peer, "seconds": SECONDS, **size}
        contestants.append(Contestant(name, "benchmarks.pools:sleeping", arguments, peer=True))
    at_least, stretch = _SHARES[slots]
    aims = [
        Aim(f"sleeping tasks, share of the ideal, {executor}, {slots} slots",
            name, "share_of_ideal", at_least, stretch)
        for name, executor in executors.items()
    ]  # fmt: skip
    title = f"{tasks} tasks of {SECONDS} s, {slots} slots"
    return Contest(title, "share_of_ideal", "cloud_tasks, loky", contestants, aims)


def ours(*, executor: str, tasks: int, slots: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tasks(folder / "tasks.json", tasks, {"seconds": SECONDS}, {})
        worker(folder, "benchmarks.tasks:sleep", executor, slots).run()
        events = read_events(folder / "events.log")
    first = min(datetime.fromisoformat(event["started"]) for event in events)
    last = max(datetime.fromisoformat(event["timestamp"]) for event in events)
    return {"share_of_ideal": tasks * SECONDS / slots / (last - first).total_seconds()}
