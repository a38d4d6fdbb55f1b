"""Run the whole worker over a task file, and measure between two tasks in the middle.

As in real runs, the file is streamed, the time limit is enforced, crashes are detected, and each
task writes an event. Peers' pools are warm before their clock starts, so the worker runs some
tasks first; the costs of start and end are another topic.
"""

from __future__ import annotations

import importlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.usage import Marks, status


def run(
    *,
    executor: str = "loky",
    function: str = "benchmarks.light:nothing",
    tasks: int,
    slots: int = 2,
    warm: int = 200,
    **data: Any,
) -> dict[str, float]:
    """Run *function* over *tasks* tasks; return their figures, without the first *warm* ones.

    Args:
        executor: its name.
        function: ``module:name``; marks on request, as :func:`benchmarks.light.nothing` does.
        tasks: number of measured tasks.
        slots: number of tasks that run at once.
        warm: number of tasks before the measurement starts.
        data: passed to each task.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        marks = Marks(folder / "marks")
        # Behind the second mark there is work for every slot: none has ended when it is made.
        count = warm + tasks + 4 * slots
        moments = dict.fromkeys((warm, warm + tasks), marks.path)
        write_tasks(folder / "tasks.json", count, data, moments)
        began = time.monotonic()
        summary = worker(folder, function, executor, slots).run()
        whole = time.monotonic() - began
        marks.close()
    assert summary.completed == count, summary
    first, last = marks.taken
    return {
        **last.figures(first, tasks, slots),
        "whole_per_second": count / whole,
        "parent_peak_mib": status("self", "VmHWM"),
    }


def write_tasks(path: Path, count: int, data: dict[str, Any], marks: dict[int, str]) -> None:
    """Write a task file, entry by entry; *marks* maps marking tasks to their FIFO."""
    with path.open("w") as file:
        for number in range(count):
            more = {"mark": marks[number]} if number in marks else {}
            entry = {"task_id": f"task-{number:07d}", "data": {"x": number, **data, **more}}
            file.write(f"{',' if number else '['}\n{json.dumps(entry)}")
        file.write("\n]\n")


def worker(folder: Path, function: str, executor: str, slots: int) -> Any:
    """Make the worker for ``tasks.json`` of *folder*."""
    from cloud_tasks.worker import Worker

    module, _, attribute = function.partition(":")
    process_task: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    args = ["--task-file", str(folder / "tasks.json"), "--executor", executor]
    args += ["--event-log-file", str(folder / "events.log"), "--max-runtime", "60"]
    return Worker(process_task, args=[*args, "--num-simultaneous-tasks", str(slots)])
