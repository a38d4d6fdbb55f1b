"""Measure ``cloud_tasks check`` on task files against readers that check nothing."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import job_files
from benchmarks.contest import Contest, Contestant
from benchmarks.results import Aim
from benchmarks.usage import status

ROUNDS = 5
OURS = "cloud_tasks check"
_TASKS = {"json": 200_000, "yaml": 50_000}
#: Readers of other libraries by format; the first is the reference.
_BARE = {
    "json": {"ijson yajl2_c": "ijson_entries", "json.load": "whole_json"},
    "yaml": {"CSafeLoader, events": "yaml_events", "CSafeLoader, whole": "whole_yaml"},
}
#: The target ratio by format, and a better one.
_RATIOS = {"json": (1.0, 1.2), "yaml": (0.7, 0.9)}


def contests(quick: bool) -> Sequence[Contest]:
    return [_contest(task_format, 500 if quick else count) for task_format, count in _TASKS.items()]


def _contest(task_format: str, tasks: int) -> Contest:
    size = {"task_format": task_format, "tasks": tasks}
    peers = [
        Contestant(name, "benchmarks.reading:bare", {"reader": reader, **size}, peer=True)
        for name, reader in _BARE[task_format].items()
    ]
    reference, words = peers[0].name, task_format.upper()
    at_least, stretch = _RATIOS[task_format]
    aims = [
        Aim(f"{words} file / {reference}", OURS, "per_second", at_least, stretch, reference),
        Aim(f"{words} file, growth of memory", OURS, "grew_mib", 2, most=True, unit=" MiB"),
    ]
    ours = Contestant(OURS, "benchmarks.reading:check", size)
    title = f"a {words} file of {tasks:,} tasks"
    return Contest(title, "per_second", reference, [*peers, ours], aims)


def check(*, task_format: str, tasks: int) -> dict[str, float]:
    from cloud_tasks.cli.check import main

    def read(path: Path) -> int:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert main([str(path), "--json"]) == 0
        found: int = json.loads(said.getvalue())["tasks"]
        return found

    return _measured(read, task_format, tasks)


def bare(*, reader: str, task_format: str, tasks: int) -> dict[str, float]:
    read = getattr(job_files, reader)
    return _measured(lambda path: sum(1 for _ in read(path)), task_format, tasks)


def _measured(read: Callable[[Path], int], task_format: str, tasks: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        small, large = (Path(folder, f"{name}.{task_format}") for name in ("small", "large"))
        job_files.WRITERS[task_format](small, 200)
        job_files.WRITERS[task_format](large, tasks)
        read(small)  # so that imports don't count
        before, cpu, began = status("self", "VmHWM"), time.process_time(), time.monotonic()
        assert read(large) == tasks
        return {
            "per_second": tasks / (time.monotonic() - began),
            "cpu_us_parent": (time.process_time() - cpu) / tasks * 1e6,
            "grew_mib": status("self", "VmHWM") - before,
        }
