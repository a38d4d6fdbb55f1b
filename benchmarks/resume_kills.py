"""Kill a worker with ``--resume`` 100 times at random, and check for one final event per task.

Each kill comes when the event log has grown by a random number of bytes, which may be 0: while the
program is loaded, while the log is read, in the middle of tasks, in the middle of a write.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.files import write_tasks

TASKS = 4_000

_PROGRAM = """
import sys, time
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    time.sleep(data["seconds"])
    return False, "x" * data["size"]

if __name__ == "__main__":
    Worker(process_task, args=sys.argv[1:]).main()
"""


def size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def kill_in_time(command: list[str], folder: Path, chance: random.Random) -> str | None:
    """Start the worker, kill it at a random moment, and return the end of its log.

    Return None if the worker ended first.
    """
    log = folder / "events.log"
    enough = size(log) + (chance.randrange(60_000) if chance.random() < 0.8 else 0)
    delay = chance.uniform(0, 1.5) if enough == size(log) else chance.uniform(0, 0.02)
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as worker:
        while size(log) < enough and worker.poll() is None:
            time.sleep(0.001)
        time.sleep(delay)
        worker.send_signal(signal.SIGKILL)
        if worker.wait() != -signal.SIGKILL:
            return None
    data = log.read_bytes()[-1:] if log.exists() else b""
    return {b"": "empty", b"\n": "whole"}.get(data, "torn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--executor", default="loky")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    chance = random.Random(args.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "program.py").write_text(_PROGRAM)
        sizes = [chance.choice([1, 100, 9_000]) for _ in range(TASKS)]
        write_tasks(
            folder / "tasks.json",
            [
                {"task_id": f"t{n}", "data": {"seconds": chance.uniform(0, 0.02), "size": bytes_}}
                for n, bytes_ in enumerate(sizes)
            ],
        )
        command = [sys.executable, "program.py", "--task-file", "tasks.json", "--resume"]
        command += ["--num-simultaneous-tasks", "2", "--executor", args.executor]
        ends: Counter[str | None] = Counter()
        for _ in range(args.kills):
            ends[kill_in_time(command, folder, chance)] += 1
        last = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        raw = (folder / "events.log").read_bytes().splitlines()
    broken = 0
    counts: Counter[str] = Counter()
    for line in raw:
        try:
            counts[json.loads(line)["task_id"]] += 1
        except (ValueError, KeyError):
            broken += 1
    print(f"seed {args.seed}, {args.executor}: {sum(ends.values())} starts before the last one,")
    print(f"  the log after each kill: {dict(ends)}; {time.monotonic() - began:.0f} s in all")
    print(f"  exit code of the last run: {last.returncode}")
    print(f"  tasks with one final event: {sum(n == 1 for n in counts.values()):,} of {TASKS:,}")
    print(
        f"  tasks with more: {sum(n > 1 for n in counts.values())}, lines that are torn: {broken}"
    )


if __name__ == "__main__":
    main()
