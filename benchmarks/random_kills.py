"""Send 200 random SIGKILLs to processes of 2,000 tasks; check that exactly these are reported."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.files import read_events, write_tasks
from benchmarks.tasks import note_pid_and_sleep
from cloud_tasks.worker import Worker

TASKS = 2_000
KILLS = 200


def kill_at_random(folder: Path, seed: int, over: threading.Event) -> int:
    """Kill processes in the middle of a task; return how many were killed."""
    chance = random.Random(seed)
    hit = 0
    while hit < KILLS and not over.wait(chance.uniform(0, 0.05)):
        notes = sorted(folder.iterdir())
        if notes:
            note = chance.choice(notes)
            note.unlink(missing_ok=True)
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(note.name), signal.SIGKILL)
                hit += 1
    return hit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pids = Path(folder, "pids")
        pids.mkdir()
        log = Path(folder, "events.log")
        tasks = [
            {"task_id": str(i), "data": {"folder": str(pids), "seconds": 0.02}}
            for i in range(TASKS)
        ]
        file = write_tasks(Path(folder, "tasks.json"), tasks)
        over = threading.Event()
        killers = ThreadPoolExecutor(1)
        killer = killers.submit(kill_at_random, pids, args.seed, over)
        options = ["--task-file", str(file), "--event-log-file", str(log)]
        began = time.monotonic()
        Worker(note_pid_and_sleep, args=[*options, "--num-simultaneous-tasks", "4"]).run()
        elapsed = time.monotonic() - began
        over.set()
        hit = killer.result()
        killers.shutdown()
        events = read_events(log)
    ends = Counter(event["task_id"] for event in events)
    kinds = Counter((event["event_type"], event.get("exit_code")) for event in events)
    print(f"seed {args.seed}: {len(events)} events in {elapsed:.1f} s, {hit} processes killed")
    print(f"  tasks with other than one event: {sum(n != 1 for n in ends.values())}")
    print(f"  tasks without an event: {TASKS - len(ends)}")
    print(f"  ends: {dict(kinds)}")


if __name__ == "__main__":
    main()
