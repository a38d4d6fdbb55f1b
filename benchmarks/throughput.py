"""No-op tasks: the whole worker (JSON file, limit, events, loky) beside Pebble with a timeout.

Pebble is given its tasks from memory and writes no events; its pool is warm before the clock
starts. Ours includes its start-up.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import tempfile
import time
from collections import deque
from multiprocessing.connection import Connection
from pathlib import Path

from cloud_tasks.worker import Worker
from common import contest, write_tasks
from tasks import nothing

TASKS = 100_000
SLOTS = 2


def ours() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        tasks = [{"task_id": f"task-{i:07d}", "data": {"x": i}} for i in range(TASKS)]
        file = write_tasks(Path(folder, "tasks.json"), tasks)
        del tasks
        few = _run(file, folder, TASKS // 10)
        return {**_run(file, folder, TASKS), "rss_mb_at_tenth": few["rss_mb"]}


def _run(file: Path, folder: str, most: int) -> dict[str, float]:
    """Run in a fresh process, whose peak memory is its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_worker, args=(sender, str(file), str(Path(folder, "events.log")), most)
    )
    process.start()
    figures: dict[str, float] = receiver.recv()
    process.join()
    return figures


def _worker(sender: Connection, file: str, log: str, most: int) -> None:
    args = ["--task-file", file, "--event-log-file", log, "--max-num-tasks", str(most)]
    worker = Worker(nothing, args=[*args, "--num-simultaneous-tasks", str(SLOTS)])
    cpu, began = time.process_time(), time.monotonic()
    summary = worker.run()
    elapsed = time.monotonic() - began
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    sender.send(
        {
            "per_second": summary.completed / elapsed,
            "cpu_us_parent": (time.process_time() - cpu) / most * 1e6,
            "cpu_us_children": (children.ru_utime + children.ru_stime) / most * 1e6,
            "rss_mb": _peak_memory(),
        }
    )


def _peak_memory() -> float:
    """Return MiB. Not ru_maxrss, which a process inherits from the one that started it."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def pebble() -> dict[str, float]:
    from pebble import ProcessPool

    with ProcessPool(max_workers=SLOTS, context=multiprocessing.get_context("spawn")) as pool:
        for warm in [pool.schedule(nothing, args=("", {}, None), timeout=60) for _ in range(200)]:
            warm.result()
        window: deque[object] = deque()
        cpu, began = time.process_time(), time.monotonic()
        for i in range(TASKS):
            window.append(
                pool.schedule(nothing, args=(f"task-{i:07d}", {"x": i}, None), timeout=60)
            )
            if len(window) >= 64:
                window.popleft().result()  # type: ignore[attr-defined]
        for future in window:
            future.result()  # type: ignore[attr-defined]
        elapsed = time.monotonic() - began
        return {
            "per_second": TASKS / elapsed,
            "cpu_us_parent": (time.process_time() - cpu) / TASKS * 1e6,
            "cpu_us_children": math.nan,
            "rss_mb": _peak_memory(),
            "rss_mb_at_tenth": math.nan,
        }


if __name__ == "__main__":
    contest(
        __doc__, {"pebble": pebble, "ours": ours}, rounds=7, key="per_second", reference="pebble"
    )
