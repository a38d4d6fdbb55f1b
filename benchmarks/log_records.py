"""Measure log records of tasks through the worker's handlers, against children with their own.

The handler writes a line to a file, of the worker or of each child. The cost of a record is the
extra time over a run that logs nothing, divided by the number of records. A task waits while the
worker is behind, so that this includes the whole path.
"""

from __future__ import annotations

import logging
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, Contestant
from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.common.log_setup import Formatter
from cloud_tasks.executors.function import specify
from cloud_tasks.executors.loky import LokyExecutor
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

TASKS, RECORDS, SLOTS = 200, 200, 2
ROUNDS = 5

logger = logging.getLogger(__name__)


def contests(quick: bool) -> Sequence[Contest]:
    tasks = TASKS // 20 if quick else TASKS
    contestants = [
        Contestant(name, "benchmarks.log_records:figures", {"own": own, "tasks": tasks})
        for name, own in (("through the worker", False), ("each its own", True))
    ]
    return [Contest("log records", "records_per_second", "each its own", contestants)]


def say(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Log the requested number of records, with a handler of its own if a file is given."""
    own = logging.FileHandler(os.environ["OWN_LOG"]) if "OWN_LOG" in os.environ else None
    if own is not None:
        own.setFormatter(Formatter())
        logging.getLogger().handlers[:] = [own]
    for n in range(data["records"]):
        logger.info("record %d of %d", n, data["records"])
    if own is not None:
        own.close()
    return False, None


def _run(tasks: int, records: int, *, own: bool = False) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        handler = logging.FileHandler(Path(folder, "all.log"))
        handler.setFormatter(Formatter())
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(logging.INFO)
        if own:
            os.environ["OWN_LOG"] = str(Path(folder, "own.log"))
        elapsed, cpu = _measure(tasks, records)
        logging.getLogger().removeHandler(handler)
        handler.close()
        lines = sum(len(file.read_text().splitlines()) for file in Path(folder).iterdir())
        assert lines == tasks * records
    return {"seconds": elapsed, "cpu": cpu}


def _measure(tasks: int, records: int) -> tuple[float, float]:
    executor = LokyExecutor()
    options = ExecutorOptions(slots=SLOTS, log_level=logging.INFO)
    executor.start(specify(say), WorkerData(), options)
    for future in [executor.submit(Task("warm", {"records": 0})) for _ in range(SLOTS)]:
        future.result()
    began, cpu = time.monotonic(), _cpu()
    for future in [executor.submit(Task(str(n), {"records": records})) for n in range(tasks)]:
        future.result()
    executor.shutdown()
    return time.monotonic() - began, _cpu() - cpu


def _cpu() -> float:
    """Return the seconds of this process and the children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def figures(*, own: bool, tasks: int) -> dict[str, float]:
    silent, loud = _run(tasks, 0), _run(tasks, RECORDS, own=own)
    count = tasks * RECORDS
    seconds = max(1e-9, loud["seconds"] - silent["seconds"])
    return {
        "records_per_second": count / seconds,
        "us_a_record": seconds / count * 1e6,
        "cpu_us_a_record": (loud["cpu"] - silent["cpu"]) / count * 1e6,
    }
