"""Run one task for each way in which a task can end; none of them disturbs another."""

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from cloud_tasks.worker import Worker, WorkerData


class TwoArgumentsError(Exception):
    """An exception that can be pickled but not unpickled, which breaks a shared process pool."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def raise_error() -> NoReturn:
    raise ValueError("no such file")


def raise_unpicklable() -> NoReturn:
    raise TwoArgumentsError("no", "way")


def recurse() -> None:
    recurse()


def fork_and_return() -> tuple[bool, str]:
    os.fork()
    return False, "told once, by the original"


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(1000)


def hang_with_a_child() -> None:
    subprocess.run(["sleep", "1000"], check=True)


def use_memory() -> None:
    memory = b"x" * (300 * 2**20)
    time.sleep(1000)
    del memory


ENDINGS: dict[str, Callable[[], Any]] = {
    "completes": lambda: (False, {"answer": 42}),
    "asks-for-another-try": lambda: (True, "the server was busy"),
    "returns-nan": lambda: (False, float("nan")),
    "forks-and-returns": fork_and_return,
    "raises": raise_error,
    "raises-unpicklable": raise_unpicklable,
    "recurses-for-ever": recurse,
    "returns-no-pair": lambda: "done",
    "returns-a-set": lambda: (False, {1, 2}),
    "sleeps-too-long": lambda: time.sleep(1000),
    "uses-too-much-memory": use_memory,
    "ignores-sigterm": ignore_sigterm,
    "hangs-with-a-child": hang_with_a_child,
    "exits-with-0": lambda: sys.exit(0),
    "exits-with-3": lambda: sys.exit(3),
    "exits-at-once": lambda: os._exit(7),
    "reads-address-0": lambda: ctypes.string_at(0),
    "is-killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def process_task(task_id: str, task_data: dict[str, Any], worker_data: WorkerData) -> Any:
    return ENDINGS[task_id]()


def all_endings() -> Iterator[dict[str, Any]]:
    for name in ENDINGS:
        yield {"task_id": name, "data": {}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.set_defaults(max_runtime=12, max_memory_allowed_per_task=0.2, num_simultaneous_tasks=3)
    Worker(process_task, task_source=all_endings, args=sys.argv[1:], argparser=parser).main()
