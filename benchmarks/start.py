"""Measure start and end of a worker, minus those of a Python that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from benchmarks.contest import Contest, Contestant
from benchmarks.files import read_events
from benchmarks.ours import write_tasks
from benchmarks.results import Aim

ROUNDS = 3
#: Repetitions in each round.
TIMES = 5
_EXECUTORS = ("loky", "forkserver", "spawn")
_BARE = "import time; print(time.time())"
_IMPORTS = "import cloud_tasks.worker, time; print(time.time())"


def contests(quick: bool) -> Sequence[Contest]:
    names = [f"cloud_tasks, {executor}" for executor in _EXECUTORS]
    times = 1 if quick else TIMES
    contestants = [
        Contestant(name, "benchmarks.start:ours", {"executor": executor, "times": times})
        for name, executor in zip(names, _EXECUTORS, strict=True)
    ]
    aims = [Aim("import", names[0], "import_s", 0.10, 0.05, most=True, unit=" s")]
    for name, executor in zip(names[:2], _EXECUTORS, strict=False):
        aims += [
            Aim(f"first event after the start, {executor}", name, "first_event_s", 0.30, 0.15,
                most=True, unit=" s"),
            Aim(f"last event to the exit, {executor}", name, "tail_s", 0.05, 0.025,
                most=True, unit=" s"),
        ]  # fmt: skip
    return [Contest("start and end, 2 slots", "first_event_s", names[0], contestants, aims)]


def ours(*, executor: str, times: int) -> dict[str, float]:
    rounds = []
    for _ in range(times):
        bare_start, bare_tail = _statement(_BARE)
        imported, _ = _statement(_IMPORTS)
        first, tail = _run(executor)
        rounds.append(
            {
                "start_s": bare_start,
                "import_s": imported - bare_start,
                "first_event_s": first - bare_start,
                "tail_s": tail - bare_tail,
            }
        )
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def _statement(program: str) -> tuple[float, float]:
    """Return the seconds from the start to the statement that prints the time, and to the exit."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    told = float(done.stdout)
    return told - began, time.time() - told


def _run(executor: str) -> tuple[float, float]:
    """Return the seconds from the start to the first event, and from the last one to the exit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tasks(folder / "tasks.json", 20, {}, {})
        log = folder / "events.log"
        command = [sys.executable, "-m", "cloud_tasks", "worker", "benchmarks.light:nothing"]
        command += ["--task-file", str(folder / "tasks.json"), "--event-log-file", str(log)]
        command += ["--executor", executor, "--num-simultaneous-tasks", "2"]
        began = time.time()
        subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
        ended = time.time()
        moments = [datetime.fromisoformat(event["timestamp"]) for event in read_events(log)]
    return min(moments).timestamp() - began, ended - max(moments).timestamp()
