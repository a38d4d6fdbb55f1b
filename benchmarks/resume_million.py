"""Measure ``--resume`` over a million finished tasks: seconds to skip them, and memory.

Each figure comes from a separate process, and is compared with a process that skips the million
tasks by ``--tasks-to-skip`` instead. Both run the one remaining task at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cloud_tasks.clock import Clock
from cloud_tasks.events.records import Recorder
from cloud_tasks.outcome import Completed, Measures
from cloud_tasks.task import Delivery, Task

_PROGRAM = """
import re, sys, time
from pathlib import Path
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    return False, "done"

if __name__ == "__main__":
    worker = Worker(process_task, args=sys.argv[1:])
    summary = worker.run()
    peak = re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]
    print(summary.elapsed, time.process_time(), peak, summary.completed)
"""


def write_job(folder: Path, count: int) -> None:
    """Write a file of *count* + 1 tasks, and the log of a run that has done *count* of them."""
    recorder = Recorder(Clock(), "workstation")
    with (folder / "tasks.jsonl").open("w") as tasks, (folder / "events.log").open("wb") as log:
        for n in range(count + 1):
            data = {"path": f"frames/n{n:07}.fits", "exposure": n % 97 / 8}
            tasks.write(json.dumps({"task_id": f"frame-{n:07}", "data": data}) + "\n")
            if n == count:
                break
            measures = Measures(n % 4, 0.02, time.time(), 0.019, 0.018, 81.2)
            outcome = Completed(False, json.dumps(f"n{n:07}.png").encode(), measures)
            delivery = Delivery(Task(f"frame-{n:07}", data))
            log.write(recorder.task_event(delivery, outcome, retry=False) + b"\n")


def measure(folder: Path, executor: str, *args: str) -> tuple[float, float, float]:
    """Run the job once; return seconds, CPU seconds and peak resident megabytes."""
    command = [sys.executable, "program.py", "--task-file", "tasks.jsonl", *args]
    done = subprocess.run(
        [*command, "--executor", executor],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, cpu, peak, *counts = done.stdout.split()
    assert counts[0] == "1", done.stderr
    for line in re.findall("resuming from.*", done.stderr):
        print(f"    {line}")
    return float(seconds), float(cpu), float(peak) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--executor", default="inline")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "program.py").write_text(_PROGRAM)
        write_job(folder, args.tasks)
        size = (folder / "events.log").stat().st_size
        print(f"{args.tasks:,} finished tasks; the event log has {size / 1e6:.0f} MB")
        for _ in range(args.rounds):
            os.truncate(folder / "events.log", size)
            skip = ["--tasks-to-skip", str(args.tasks), "--event-log-file", "other.log"]
            plain, plain_cpu, base = measure(folder, args.executor, *skip)
            resumed, cpu, peak = measure(folder, args.executor, "--resume")
            print(
                f"--tasks-to-skip: {plain:.1f} s, {plain_cpu:.1f} s CPU, {base:.0f} MB   "
                f"--resume: {resumed:.1f} s, {cpu:.1f} s CPU, {peak:.0f} MB ({peak - base:+.0f})"
            )


if __name__ == "__main__":
    main()
