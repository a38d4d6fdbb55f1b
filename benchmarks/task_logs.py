"""What --task-logs costs: the whole worker with it and without, on loky's processes.

Tasks that compute for 1 ms and print 10 lines, then tasks that do nothing at all. Without the
option the lines go to a file, too: the one that standard output leads to.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from cloud_tasks.worker import Worker
from common import contest, write_tasks
from tasks import nothing, print_ten_lines

PRINTING, IDLE = 10_000, 40_000
SLOTS = 2


def plain() -> dict[str, float]:
    return measured([])


def kept() -> dict[str, float]:
    return measured(["--task-logs"])


def measured(options: list[str]) -> dict[str, float]:
    return {
        "per_second": _run(print_ten_lines, PRINTING, options),
        "nothing_per_second": _run(nothing, IDLE, options),
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


if __name__ == "__main__":
    contest(
        __doc__,
        {"without": plain, "with --task-logs": kept},
        rounds=7,
        key="per_second",
        reference="without",
    )
