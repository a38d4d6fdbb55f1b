"""Take away what a worker and its tasks share, and check that nothing is lost and nothing left.

In half of the trials the worker and its watchdog are killed together while tasks hold named shared
memory, a semaphore and processes. In the others /dev/shm is emptied, again and again, while tasks
run; it is one of the trial's own, which needs root.
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
from pathlib import Path

import psutil

from benchmarks.checkout import wait_until
from benchmarks.files import read_events, write_tasks
from benchmarks.marked import MarkedWorker, marked_worker

EXECUTORS = ("loky", "spawn", "forkserver")
_SLOTS = 4
#: Seconds that a busy machine may take to start the tasks.
_PATIENCE = 120.0
_OWN_SHM = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/shm && exec "$@"', "sh")


def options(folder: Path, executor: str, tasks: list[dict[str, object]]) -> list[str]:
    """Return the options of a worker that runs *tasks*."""
    return [
        *("--task-file", str(write_tasks(folder / "tasks.json", tasks))),
        *("--event-log-file", str(folder / "events.log")),
        *("--num-simultaneous-tasks", str(_SLOTS), "--executor", executor),
    ]


def killed(executor: str, chance: random.Random) -> list[str]:
    """Kill a worker and its watchdog; return what is left."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks: list[dict[str, object]] = [
            {"task_id": str(n), "data": {"folder": name, "seconds": 600}} for n in range(_SLOTS)
        ]
        arguments = options(folder, executor, tasks)
        with marked_worker(folder, "benchmarks.tasks:holds_names", *arguments) as worker:
            wait_until(lambda: len(list(folder.glob("names-*"))) == _SLOTS, _PATIENCE, "tasks")
            time.sleep(chance.uniform(0, 0.5))
            for pid in [*_watchdogs(worker), worker.process.pid]:
                os.kill(pid, signal.SIGKILL)
            wrong = [f"process {pid} is left" for pid in worker.left()]
        files = [line for path in folder.glob("names-*") for line in path.read_text().split()]
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not _existing(files), 5, "removal")
        return wrong + [f"{file} is left in /dev/shm" for file in _existing(files)]


def _watchdogs(worker: MarkedWorker) -> list[int]:
    found = []
    for pid in worker.children():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.cmdline()[1:3] == ["-S", "-E"] and "kill_marked" in process.cmdline()[4]:
                found.append(pid)
    return found


def _existing(names: list[str]) -> list[str]:
    return [name for name in names if Path("/dev/shm", name).exists()]


def emptied(executor: str, chance: random.Random) -> list[str]:
    """Empty /dev/shm while a worker runs tasks; return what is wrong with how that ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = 100
        tasks: list[dict[str, object]] = [
            {"task_id": str(n), "data": {"seconds": 0.02, "dies": n % 10 == 9}}
            for n in range(count)
        ]
        arguments = options(folder, executor, tasks)
        function = "benchmarks.tasks:sleep_or_die"
        with marked_worker(folder, function, *arguments, before=_OWN_SHM) as worker:
            shm = Path(f"/proc/{worker.process.pid}/root/dev/shm")
            while worker.process.poll() is None:
                with contextlib.suppress(OSError):
                    for path in shm.iterdir():
                        path.unlink()
                time.sleep(chance.uniform(0, 0.05))
            code = worker.process.returncode
            left = worker.left()
        events = read_events(folder / "events.log")
    ends = [event["task_id"] for event in events if "task_id" in event]
    wrong = [f"process {pid} is left" for pid in left]
    if code != 1:  # tasks have died
        wrong.append(f"exit code {code}")
    if sorted(ends) != sorted(str(task["task_id"]) for task in tasks):
        wrong.append(f"{len(ends)} ends of {count} tasks")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="trials of each kind and executor")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    failed = False
    for what, trial in (("worker and watchdog killed", killed), ("/dev/shm emptied", emptied)):
        for executor in EXECUTORS:
            chance = random.Random(f"{args.seed} {what} {executor}")
            wrong = [found for _ in range(args.count) if (found := trial(executor, chance))]
            failed = failed or bool(wrong)
            print(f"{what}, {executor}: {len(wrong)} of {args.count} wrong", flush=True)
            for found in wrong[:3]:
                print(f"  {'; '.join(found)}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
