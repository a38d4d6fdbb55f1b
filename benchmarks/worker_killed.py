"""Kill a worker that runs 8 tasks with a subprocess each; measure the time until all have ended."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.checkout import environment
from benchmarks.files import write_tasks

SLOTS = 8


def seconds_until_gone(executor: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        tasks = [{"task_id": str(i), "data": {}} for i in range(SLOTS)]
        file = write_tasks(Path(folder, "tasks.json"), tasks)
        command = [sys.executable, "-m", "cloud_tasks", "worker"]
        command += ["benchmarks.tasks:sleep_beside_subprocess"]
        command += ["--task-file", str(file), "--num-simultaneous-tasks", str(SLOTS)]
        command += ["--executor", executor, "--event-log-file", str(Path(folder, "events.log"))]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
        ) as worker:
            assert worker.stdout is not None
            pids = [int(p) for _ in range(SLOTS) for p in worker.stdout.readline().split()[1:]]
            others = [p.pid for p in psutil.Process(worker.pid).children(recursive=True)]
            os.kill(worker.pid, signal.SIGKILL)
            began = time.monotonic()
            while any(_alive(pid) for pid in {*pids, *others}):
                time.sleep(0.005)
            return time.monotonic() - began


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for executor in ("loky", "spawn"):
        taken = [seconds_until_gone(executor) for _ in range(args.rounds)]
        print(f"{executor}: all gone after {', '.join(f'{t:.2f} s' for t in taken)}")


if __name__ == "__main__":
    main()
