"""Run no-op tasks in warm pools of the peers that reuse processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from benchmarks.light import nothing
from benchmarks.usage import timed

#: Number of tasks in flight.
WINDOW = 64
#: Time limit in seconds, for pools that support one.
LIMIT = 60


def futures(*, tasks: int, slots: int = 2) -> dict[str, float]:
    with ProcessPoolExecutor(slots) as pool:
        return _windowed(lambda i: pool.submit(nothing, *_task(i)), tasks, slots)


def loky(*, tasks: int, slots: int = 2) -> dict[str, float]:
    from loky import get_reusable_executor

    pool: Any = get_reusable_executor(max_workers=slots)
    try:
        return _windowed(lambda i: pool.submit(nothing, *_task(i)), tasks, slots)
    finally:
        pool.shutdown()


def pebble(*, tasks: int, slots: int = 2) -> dict[str, float]:
    from pebble import ProcessPool

    with ProcessPool(max_workers=slots) as pool:
        return _windowed(
            lambda i: pool.schedule(nothing, args=_task(i), timeout=LIMIT), tasks, slots
        )


def mp_pool(*, tasks: int, slots: int = 2) -> dict[str, float]:
    def run(count: int) -> None:
        for _ in pool.imap_unordered(_nothing, map(_task, range(count))):
            pass

    with multiprocessing.Pool(slots) as pool:
        run(200)
        return timed(lambda: run(tasks), tasks, slots)


def joblib(*, tasks: int, slots: int = 2) -> dict[str, float]:
    from joblib import Parallel, delayed

    def run(count: int) -> None:
        list(parallel(delayed(nothing)(*_task(i)) for i in range(count)))

    with Parallel(n_jobs=slots, batch_size=1, return_as="generator_unordered") as parallel:
        run(200)
        return timed(lambda: run(tasks), tasks, slots)


def _task(number: int) -> tuple[str, dict[str, Any], None]:
    return f"task-{number:07d}", {"x": number}, None


def _nothing(task: tuple[str, dict[str, Any], None]) -> tuple[bool, None]:
    return nothing(*task)


def _windowed(submit: Callable[[int], Any], tasks: int, slots: int) -> dict[str, float]:
    """Keep a fixed number of futures in flight."""

    def run(count: int) -> None:
        window: deque[Any] = deque()
        for i in range(count):
            window.append(submit(i))
            if len(window) >= WINDOW:
                window.popleft().result()
        while window:
            window.popleft().result()

    run(200)
    return timed(lambda: run(tasks), tasks, slots)


def sleeping(*, peer: str, seconds: float, tasks: int, slots: int) -> dict[str, float]:
    """Run sleeps in ``futures`` or ``pebble``; return the share of the ideal time."""
    with contextlib.ExitStack() as stack:
        submit: Callable[[float], Any]
        if peer == "pebble":
            from pebble import ProcessPool

            pebbles = stack.enter_context(ProcessPool(max_workers=slots))
            submit = lambda pause: pebbles.schedule(time.sleep, args=(pause,), timeout=LIMIT)  # noqa: E731
        else:
            pool = stack.enter_context(ProcessPoolExecutor(slots))
            submit = lambda pause: pool.submit(time.sleep, pause)  # noqa: E731

        def run(count: int, pause: float) -> float:
            began = time.monotonic()
            for end in [submit(pause) for _ in range(count)]:
                end.result()
            return time.monotonic() - began

        run(slots, 0.05)
        return {"share_of_ideal": tasks * seconds / slots / run(tasks, seconds)}
