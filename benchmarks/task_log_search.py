"""Measure the time to find the output of one task among many.

It makes the task logs of a run whose tasks printed ten lines each, and measures search and reading
for tasks at random positions, and then once the whole command, including the start of Python.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cloud_tasks.history.layout import RunDir
from cloud_tasks.history.task_logs import TaskLogs


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--lines", type=int, default=10, help="printed by each task")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--searches", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloud_tasks-benchmark-") as name:
        directory = RunDir(name)
        size = make_logs(directory.logs, args.tasks, args.lines, args.slots)
        directory.events.touch()
        print(f"{args.tasks:,} tasks, {args.tasks * args.lines:,} lines, {size / 2**20:.0f} MiB")
        logs = TaskLogs(directory.logs)
        chosen = random.Random(1).sample(range(args.tasks), min(args.searches, args.tasks))
        took = [look(logs, number, args.lines) for number in chosen]
        shown("found and read", took)
        began = time.perf_counter()
        assert not logs.attempts("nobody")
        shown("not there", [time.perf_counter() - began])
        shown("the command", [command(name, number, args.lines) for number in chosen[:5]])


def make_logs(folder: Path, tasks: int, lines: int, slots: int) -> int:
    """Write the logs of a run; return the number of bytes of output."""
    folder.mkdir()
    size = 0
    for slot in range(slots):
        offset = 0
        index, log = folder / f"slot-{slot:03}.idx", folder / f"slot-{slot:03}.log"
        with index.open("w") as entries, log.open("wb") as output:
            for number in range(slot, tasks, slots):
                entry = [offset, task_id(number), 1_700_000_000 + number / 100]
                entries.write(json.dumps(entry) + "\n")
                printed = b"".join(line(number, n) for n in range(lines))
                output.write(printed)
                offset += len(printed)
        size += offset
    return size


def task_id(number: int) -> str:
    """Return the id of a task."""
    return f"task-{number:07}"


def line(number: int, n: int) -> bytes:
    """Return the n-th line of a task's output."""
    return b"task %d says in its line %d that all is going well so far\n" % (number, n)


def look(logs: TaskLogs, number: int, lines: int) -> float:
    """Find and read the output of a task; return the seconds it took."""
    began = time.perf_counter()
    (found,) = logs.attempts(task_id(number))
    output = b"".join(found.output())
    took = time.perf_counter() - began
    assert output == b"".join(line(number, n) for n in range(lines))
    return took


def command(run: str, number: int, lines: int) -> float:
    """Do the same by the command; return the seconds it took."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "cloud_tasks", "logs", run, task_id(number)],
        stdout=subprocess.PIPE,
        check=True,
    )
    took = time.perf_counter() - began
    assert done.stdout == b"".join(line(number, n) for n in range(lines))
    return took


def shown(what: str, took: list[float]) -> None:
    """Print the median and the maximum."""
    print(f"{what:>16}: median {statistics.median(took):.4f} s, at most {max(took):.4f} s")


if __name__ == "__main__":
    main()
