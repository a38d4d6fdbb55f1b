"""Measure the cost of --task-logs: the whole worker with and without it, with loky.

The tasks compute for 1 ms and print 10 lines, or do nothing. Without the option the lines also go
to a file, which is standard output.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, Contestant
from benchmarks.files import write_tasks
from benchmarks.light import nothing
from benchmarks.tasks import print_ten_lines
from cloud_tasks.worker import Worker

PRINTING, IDLE = 10_000, 40_000
SLOTS = 2
ROUNDS = 7


def contests(quick: bool) -> Sequence[Contest]:
    share = 100 if quick else 1
    contestants = [
        Contestant(name, "benchmarks.task_logs:measured", {"options": options, "share": share})
        for name, options in (("without", []), ("with --task-logs", ["--task-logs"]))
    ]
    return [Contest("task logs, 2 slots", "printing_per_second", "without", contestants)]


def measured(*, options: list[str], share: int) -> dict[str, float]:
    return {
        "printing_per_second": _run(print_ten_lines, PRINTING // share, options),
        "nothing_per_second": _run(nothing, IDLE // share, options),
    }


def _run(function: Callable[..., Any], most: int, options: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        tasks = [{"task_id": f"task-{i:07d}", "data": {"x": i}} for i in range(most)]
        file = write_tasks(Path(folder, "tasks.json"), tasks)
        log = ["--event-log-file", str(Path(folder, "events.log"))]
        args = ["--task-file", str(file), *log, "--num-simultaneous-tasks", str(SLOTS), *options]
        receiver, sender = multiprocessing.Pipe(duplex=False)
        printed = str(Path(folder, "printed"))
        process = multiprocessing.get_context("spawn").Process(
            target=_worker, args=(sender, function, args, printed)
        )
        process.start()
        per_second: float = receiver.recv()
        process.join()
        return per_second


def _worker(
    sender: Connection, function: Callable[..., Any], args: list[str], printed: str
) -> None:
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    began = time.monotonic()
    summary = Worker(function, args=args).run()
    sender.send(summary.completed / (time.monotonic() - began))
