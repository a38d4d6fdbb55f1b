"""Measure streaming of task files against other readers.

Each reader runs in its own process, one after the other in each round; ijson must be installed.
The table shows medians: tasks per second, the ratio to the first reader of the table in the same
round, the time to the first task, and the growth of the process at its peak. ``tasks`` means that
entries are checked and become deliveries, for ijson by our code as well; the other readers only
decode.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.checkout import environment
from benchmarks.job_files import WRITERS, ijson_entries, whole_json, whole_yaml
from cloud_tasks.sources.entries import to_item
from cloud_tasks.sources.files.task_file import TaskFileSource


def source_tasks(path: Path) -> Iterator[Any]:
    source = TaskFileSource(path)
    source.open()
    for batch in source.batches(64):
        yield from batch.deliveries
    source.close()


def ijson_tasks(path: Path) -> Iterator[Any]:
    for value in ijson_entries(path):
        yield to_item(value, str)


READERS: dict[str, dict[str, Callable[[Path], Iterator[Any]]]] = {
    "json": {
        "ijson yajl2_c": ijson_entries,
        "ijson, tasks": ijson_tasks,
        "json.load": whole_json,
        "ours, tasks": source_tasks,
    },
    "yaml": {
        "yaml.CSafeLoader": whole_yaml,
        "ours, tasks": source_tasks,
    },
}


def peak_kib() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def measure(task_format: str, reader: str, path: Path) -> None:
    """Read *path* once and print the seconds, the tasks, and the growth in KiB."""
    read = READERS[task_format][reader]
    # A small file first, so that imports don't count as growth.
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / f"small.{task_format}"
        WRITERS[task_format](small, 200)
        for _ in read(small):
            pass
    before = peak_kib()
    start = time.perf_counter()
    tasks = read(path)
    next(tasks)
    first = time.perf_counter() - start
    count = 1 + sum(1 for _ in tasks)
    seconds = time.perf_counter() - start
    print(json.dumps([count / seconds, first, peak_kib() - before]))


def compare(task_format: str, path: Path, rounds: int) -> None:
    readers = list(READERS[task_format])
    figures: dict[str, list[list[float]]] = {reader: [] for reader in readers}
    for _ in range(rounds):
        for reader in readers:
            command = [
                sys.executable,
                "-m",
                "benchmarks.task_files",
                "--measure",
                task_format,
                reader,
                str(path),
            ]
            done = subprocess.run(
                command, capture_output=True, check=True, text=True, env=environment()
            )
            figures[reader].append(json.loads(done.stdout))
    peer = figures[readers[0]]
    print(f"\n{task_format}: {path.stat().st_size / 1e6:.1f} MB, median of {rounds} rounds")
    print(f"{'reader':20}{'tasks/s':>10}{'x ' + readers[0]:>20}{'first ms':>10}{'grew KiB':>10}")
    for reader in readers:
        rates, firsts, growths = zip(*figures[reader], strict=True)
        ratio = statistics.median(rate / other[0] for rate, other in zip(rates, peer, strict=True))
        print(
            f"{reader:20}{statistics.median(rates):10,.0f}{ratio:20.2f}"
            f"{1000 * statistics.median(firsts):10.2f}{statistics.median(growths):10,.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=200_000, help="in the JSON file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure[0], args.measure[1], Path(args.measure[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for task_format, count in (("json", args.tasks), ("yaml", args.tasks // 10)):
            path = Path(folder) / f"tasks.{task_format}"
            WRITERS[task_format](path, count)
            compare(task_format, path, args.rounds)


if __name__ == "__main__":
    main()
