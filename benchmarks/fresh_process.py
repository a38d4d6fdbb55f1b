"""A fresh process for each no-op task: our ``spawn`` beside the standard library's.

Both include the start of their first processes.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from cloud_tasks.worker import Worker
from common import contest, write_tasks
from tasks import nothing

TASKS = 60
SLOTS = 2


def ours() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        tasks = [{"task_id": str(i), "data": {"x": i}} for i in range(TASKS)]
        file = write_tasks(Path(folder, "tasks.json"), tasks)
        args = ["--task-file", str(file), "--event-log-file", str(Path(folder, "events.log"))]
        args += ["--num-simultaneous-tasks", str(SLOTS), "--executor", "spawn"]
        worker = Worker(nothing, args=args)
        began = time.monotonic()
        summary = worker.run()
        return _figures(summary.completed, time.monotonic() - began)


def standard_library() -> dict[str, float]:
    # Python 3.11 and newer has it; the types are checked for 3.10.
    options: dict[str, Any] = {"max_tasks_per_child": 1}
    context = multiprocessing.get_context("spawn")
    began = time.monotonic()
    with ProcessPoolExecutor(SLOTS, mp_context=context, **options) as pool:
        for future in [pool.submit(nothing, str(i), {"x": i}, None) for i in range(TASKS)]:
            future.result()
    return _figures(TASKS, time.monotonic() - began)


def _figures(tasks: int, elapsed: float) -> dict[str, float]:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "per_second": tasks / elapsed,
        "cpu_ms_children": (children.ru_utime + children.ru_stime) / tasks * 1e3,
    }


if __name__ == "__main__":
    contest(
        __doc__,
        {"ProcessPoolExecutor": standard_library, "ours": ours},
        rounds=7,
        key="per_second",
        reference="ProcessPoolExecutor",
    )
