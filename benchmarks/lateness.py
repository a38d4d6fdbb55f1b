"""Measure the delay until a time limit or a crash is detected, and count early kills.

The delay of a limit is ``run_time`` of the outcome minus the limit; ``run_time`` counts from the
child's time stamp right before it calls the function to the detected death. The delay of a crash is
``run_time`` of a function that kills its process at once. Pebble's tasks make the stamp themselves.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, Contestant
from benchmarks.results import Aim

ROUNDS = 1
SLOTS = 2
#: Seconds, and the step between limits: with equal limits a check every 0.1 s would always be
#: punctual, or never.
LIMIT, SPREAD = 0.2, 0.1
_EXECUTORS = ("loky", "forkserver", "spawn")


def contests(quick: bool) -> Sequence[Contest]:
    kills, crashes = (6, 4) if quick else (1000, 200)
    return [
        _contest(
            f"{kills} limits of {LIMIT} to {LIMIT + SPREAD:.1f} s, {SLOTS} slots",
            "limit",
            kills,
            [("median", "median_ms", 6.0, 4.0), ("99th percentile", "p99_ms", 20.0, 10.0)],
        ),
        _contest(
            f"{crashes} crashes, one after the other",
            "crash",
            crashes,
            [("median", "median_ms", 3.0, 1.5)],
        ),
    ]


def _contest(
    title: str, kind: str, tasks: int, aims: list[tuple[str, str, float, float]]
) -> Contest:
    target = f"benchmarks.lateness:{kind}"
    contestants = [
        Contestant(f"cloud_tasks, {name}", target, {"executor": name, "tasks": tasks})
        for name in _EXECUTORS
    ]
    # Fewer for Pebble, which takes 0.1 s to detect a crash.
    peers = {"kind": kind, "tasks": min(tasks, 100)}
    contestants.append(Contestant("Pebble", "benchmarks.lateness:pebble", peers, peer=True))
    wanted = [
        Aim(f"{kind}: lateness, {words}, {name}", f"cloud_tasks, {name}", figure,
            at_least, stretch, most=True, unit=" ms")
        for words, figure, at_least, stretch in aims
        for name in _EXECUTORS
    ]  # fmt: skip
    if kind == "limit":
        wanted += [
            Aim(f"limit: early, {name}", f"cloud_tasks, {name}", "early", 0, most=True)
            for name in _EXECUTORS
        ]
    return Contest(title, "median_ms", "cloud_tasks, loky", contestants, wanted)


def limit(*, executor: str, tasks: int) -> dict[str, float]:
    from cloud_tasks.outcome import TimedOut

    outcomes = _outcomes(executor, "sleep", {"seconds": 60}, SLOTS, _limits(tasks))
    assert all(isinstance(outcome, TimedOut) for outcome in outcomes)
    return _figures([outcome.measures.run_time - outcome.max_runtime for outcome in outcomes])


def _limits(count: int) -> list[float]:
    return [LIMIT + SPREAD * (number * 0.618 % 1) for number in range(count)]


def crash(*, executor: str, tasks: int) -> dict[str, float]:
    from cloud_tasks.outcome import Exited

    outcomes = _outcomes(executor, "die", {}, 1, [None] * tasks)
    assert all(isinstance(outcome, Exited) and outcome.exit_code == -9 for outcome in outcomes)
    return _figures([outcome.measures.run_time for outcome in outcomes])


def _outcomes(
    executor: str,
    function: str,
    data: dict[str, Any],
    slots: int,
    limits: Sequence[float | None],
) -> list[Any]:
    from benchmarks import tasks as functions
    from cloud_tasks.executors.base import ExecutorOptions
    from cloud_tasks.executors.function import specify
    from cloud_tasks.registry import load
    from cloud_tasks.task import Task
    from cloud_tasks.worker_data import WorkerData

    pool = load("executor", executor)()
    pool.start(specify(getattr(functions, function)), WorkerData(), ExecutorOptions(slots=slots))
    task = Task(function, data)
    futures = [pool.submit(task, max_runtime=limit) for limit in limits]
    outcomes = [future.result() for future in futures]
    pool.shutdown()
    return outcomes


def _figures(seconds: list[float]) -> dict[str, float]:
    """Return the figures of *lateness*; values below 0 count as early."""
    late = sorted(1e3 * value for value in seconds)
    return {
        "median_ms": statistics.median(late),
        "p99_ms": late[min(len(late) - 1, round(0.99 * len(late)))],
        "max_ms": late[-1],
        "early": sum(value < 0 for value in late),
        "count": len(late),
    }


def pebble(*, kind: str, tasks: int) -> dict[str, float]:
    from pebble import ProcessPool

    limits = _limits(tasks)
    function = _stamp_and_sleep if kind == "limit" else _stamp_and_die
    with ProcessPool(max_workers=1) as pool, tempfile.TemporaryDirectory() as folder:
        stamp = Path(folder, "stamp")
        late = [
            _lateness(pool.schedule(function, (str(stamp),), timeout=limit), stamp)
            for limit in limits
        ]
    if kind == "limit":
        late = [known - limit for known, limit in zip(late, limits, strict=True)]
    return _figures(late)


def _lateness(future: Any, stamp: Path) -> float:
    """Return the seconds from the stamp of the task to the moment its end is known."""
    error = future.exception()
    known = time.monotonic()
    assert error is not None
    return known - float(stamp.read_text())


def _stamp_and_sleep(path: str) -> None:
    Path(path).write_text(repr(time.monotonic()))
    time.sleep(60)


def _stamp_and_die(path: str) -> None:
    Path(path).write_text(repr(time.monotonic()))
    os.kill(os.getpid(), 9)
