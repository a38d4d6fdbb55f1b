"""Send 1,000 random SIGKILLs to all processes of a worker but itself, while it runs 2,000 tasks.

Children, zygotes, the watchdog, its deputy and resource trackers are hit alike, one each 20 to 250
ms. Every task must have one final event, which says completed or killed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.files import write_tasks
from benchmarks.marked import MarkedWorker, ends_of_tasks, marked_worker

EXECUTORS = ("loky", "spawn", "forkserver")
_SLOTS = 4
#: Seconds from one kill to the next; on the average, the tasks last as long as all kills.
_PAUSES = (0.02, 0.25)


def kill_at_random(worker: MarkedWorker, kills: int, chance: random.Random) -> int:
    """Kill processes of *worker* until it ends; return how many were hit."""
    hit = 0
    while hit < kills and worker.process.poll() is None:
        time.sleep(chance.uniform(*_PAUSES))
        pids = [pid for pid in worker.processes() if pid != worker.process.pid]
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
                hit += 1
    return hit


def trial(executor: str, tasks: int, kills: int, chance: random.Random) -> bool:
    """Run *tasks* and tell how they ended; return True if each had one end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = _SLOTS * kills * sum(_PAUSES) / 2 / tasks
        data = [{"task_id": str(n), "data": {"seconds": seconds}} for n in range(tasks)]
        file, log = write_tasks(folder / "tasks.json", data), folder / "events.log"
        options = ["--task-file", str(file), "--event-log-file", str(log), "--executor", executor]
        options += ["--num-simultaneous-tasks", str(_SLOTS)]
        began = time.monotonic()
        with marked_worker(folder, "benchmarks.tasks:sleep", *options) as worker:
            hit = kill_at_random(worker, kills, chance)
            code = worker.process.wait(600)
            left = worker.left()
            said = worker.said()
        elapsed = time.monotonic() - began
        events, ends, _ = ends_of_tasks(log)
    kinds = Counter((event["event_type"], event.get("exit_code")) for event in events)
    doubled, lost = sum(n != 1 for n in ends.values()), tasks - len(ends)
    print(f"{executor}: {len(events)} events in {elapsed:.0f} s, {hit} kills, exit code {code}")
    print(f"  doubled {doubled}, lost {lost}, processes left {len(left)}")
    print(f"  ends: {dict(kinds)}", flush=True)
    good = not (doubled or lost or left) and code in (0, 1)
    if not good:
        print(said)
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1, help="trials of each executor")
    parser.add_argument("--tasks", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--executor", choices=EXECUTORS, action="append")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    chance = random.Random(args.seed)
    bad = 0
    for executor in args.executor or EXECUTORS:
        for _ in range(args.count):
            bad += not trial(executor, args.tasks, args.kills, chance)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
