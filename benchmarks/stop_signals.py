"""Send SIGTERM to all processes of a worker at a random moment; check that no task has failed.

As systemd, Slurm and a shutdown do it, in any order. The tasks sleep, wait for a program of theirs,
handle SIGTERM themselves, or have set it back to its default.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.files import write_tasks
from benchmarks.marked import count_bad, ends_of_tasks, marked_worker

EXECUTORS = ("loky", "spawn", "forkserver")
_KINDS = ("sleeps", "waits", "exits", "raises", "default")
_SLOTS = 4
#: Seconds in which the signals may come after the first start of a task.
_WINDOW = 3.0


def trial(executor: str, chance: random.Random) -> list[str]:
    """Stop one worker; return what is wrong with how that ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = [
            {"task_id": str(n), "data": {"kind": chance.choice(_KINDS), "seconds": 1.0}}
            for n in range(200)
        ]
        file, log = write_tasks(folder / "tasks.json", tasks), folder / "events.log"
        options = ["--task-file", str(file), "--event-log-file", str(log)]
        options += ["--num-simultaneous-tasks", str(_SLOTS), "--executor", executor]
        with marked_worker(folder, "benchmarks.tasks:meets_a_signal", *options) as worker:
            while b"events go to" not in (folder / "stderr").read_bytes():
                time.sleep(0.01)
            time.sleep(chance.uniform(0, _WINDOW))
            pids = worker.processes()
            chance.shuffle(pids)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            code = worker.process.wait(120)
            left = worker.left()
            said = worker.said()
        events, ends, kinds = ends_of_tasks(log)
    wrong = []
    if code != 128 + signal.SIGTERM:
        wrong.append(f"exit code {code}")
    if set(kinds) - {"task_completed", "task_aborted"}:
        failed = [e for e in events if e["event_type"] in ("task_exited", "task_exception")]
        wrong.append(f"{dict(kinds)}: {[e.get('exit_code', e.get('exception')) for e in failed]}")
    if any(n != 1 for n in ends.values()):
        wrong.append("tasks with two ends")
    if left:
        wrong.append(f"left: {left}")
    return [*wrong, said] if wrong else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="trials of each executor")
    parser.add_argument("--executor", choices=EXECUTORS, action="append")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    chance = random.Random(args.seed)
    failed = 0
    for executor in args.executor or EXECUTORS:
        failed += count_bad(executor, args.count, functools.partial(trial, executor, chance))
    print(f"seed {args.seed}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
