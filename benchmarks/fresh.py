"""Measure a fresh process per no-op task, of a light module and of one that imports numpy."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.contest import Contest, Contestant
from benchmarks.results import Aim
from benchmarks.usage import timed

ROUNDS = 5
SLOTS = 2
FLOOR = "floor: zygote"
SPAWNED = "ProcessPoolExecutor, spawn"
#: Numbers of tasks: for floor and forkserver, and fewer for the slower others.
_TASKS = {"light": (1000, 60), "heavy": (1000, 20)}


def contests(quick: bool) -> Sequence[Contest]:
    return [_contest(module, quick) for module in _TASKS]


def _contest(module: str, quick: bool) -> Contest:
    many, few = (20, 4) if quick else _TASKS[module]
    words = "light module" if module == "light" else "module with numpy"
    needed = "" if module == "light" else "numpy"
    function = f"benchmarks.{module}:nothing"
    ours = [
        Contestant(
            f"cloud_tasks, {executor}",
            "benchmarks.ours:run",
            {"executor": executor, "function": function, "tasks": tasks, "warm": 4},
            module=needed,
        )
        for executor, tasks in (("forkserver", many), ("spawn", few))
    ]
    peers = [
        Contestant(
            f"{name}, {start}",
            f"benchmarks.fresh:{peer}",
            {"start": start, "function": function, "tasks": few},
            peer=True,
        )
        for peer, name in (("futures", "ProcessPoolExecutor"), ("mp_pool", "multiprocessing.Pool"))
        for start in ("spawn", "forkserver")
    ]
    peers += [
        Contestant(
            name,
            "benchmarks.fresh:commands",
            {"tool": tool, "module": f"benchmarks.{module}", "tasks": few},
            peer=True,
            command=tool,
        )
        for tool, name in (("parallel", "GNU parallel"), ("xargs", "xargs"))
    ]
    arguments = {"function": function, "tasks": many}
    floor = Contestant(FLOOR, "benchmarks.floors:zygote", arguments, module=needed)
    return Contest(
        f"a fresh process a task, {words}, {SLOTS} slots",
        "per_second",
        FLOOR,
        [floor, *ours, *peers],
        _aims(words),
    )


def _aims(words: str) -> list[Aim]:
    fork, spawn = "cloud_tasks, forkserver", "cloud_tasks, spawn"
    return [
        Aim(f"forkserver / zygote floor, {words}", fork, "per_second", 0.6, 0.8, FLOOR),
        Aim(f"spawn / ProcessPoolExecutor, {words}", spawn, "per_second", 1.2, 1.5, SPAWNED),
        Aim(f"spawn: share of cores / CPU a child, {words}", spawn, "children_busy", 0.9),
    ]


def futures(*, start: str, function: str, tasks: int) -> dict[str, float]:
    # Python 3.11 and newer has it; the types are checked for 3.10.
    options: dict[str, Any] = {"max_tasks_per_child": 1}
    task = _load(function)

    def run(count: int) -> None:
        for end in [pool.submit(task, str(i), {}, None) for i in range(count)]:
            end.result()

    context = multiprocessing.get_context(start)
    with ProcessPoolExecutor(SLOTS, mp_context=context, **options) as pool:
        run(SLOTS)
        return timed(lambda: run(tasks), tasks, SLOTS)


def mp_pool(*, start: str, function: str, tasks: int) -> dict[str, float]:
    task = _load(function)

    def run(count: int) -> None:
        for end in [pool.apply_async(task, (str(i), {}, None)) for i in range(count)]:
            end.get()

    context: Any = multiprocessing.get_context(start)
    with context.Pool(SLOTS, maxtasksperchild=1) as pool:
        run(SLOTS)
        return timed(lambda: run(tasks), tasks, SLOTS)


def commands(*, tool: str, module: str, tasks: int) -> dict[str, float]:
    """Let *tool* start a Python for each task, with its number as argument."""
    # Without braces: GNU parallel would put its number there.
    program = f"import sys, {module}; {module}.nothing(sys.argv[1], dict(), None)"
    command = [sys.executable, "-c", program]
    if tool == "parallel":
        command = [tool, "--quote", f"-j{SLOTS}", *command]
    else:
        command = [tool, f"-P{SLOTS}", "-n1", *command]
    numbers = "".join(f"{i}\n" for i in range(tasks))

    def run() -> None:
        subprocess.run(command, input=numbers, text=True, check=True)

    return timed(run, tasks, SLOTS)


def _load(function: str) -> Any:
    module, _, name = function.partition(":")
    __import__(module)
    return getattr(sys.modules[module], name)
