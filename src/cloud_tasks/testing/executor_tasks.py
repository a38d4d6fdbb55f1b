"""Task functions for the executors' contract; light, since every fresh process imports it."""

from __future__ import annotations

import os
import pkgutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from cloud_tasks.worker_data import WorkerData

#: Seconds after which a task that waits for a test gives up.
_PATIENCE = 40.0


def perform(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Run the task function named by ``data["do"]``: one pool serves many tests."""
    function = pkgutil.resolve_name(data["do"])
    return function(task_id, data, worker_data)


def wait_for(path: str | Path) -> None:
    """Wait until *path* exists."""
    deadline = time.monotonic() + _PATIENCE
    while not os.path.exists(path):  # noqa: PTH110
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} never appeared")
        time.sleep(0.002)


def returns(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Return just what the test asks for."""
    return data["value"]


def returns_task_data(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Tell what the task sees of itself."""
    return False, {
        "task_id": task_id,
        "by key": [data["task_id"], data["data"] == data],
        "contains": "task_id" in data or "data" in data,
        "keys": sorted(data),
    }


async def is_async(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Be a coroutine function, by mistake."""
    return False, None


def returns_endless_list(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Return a list that contains itself."""
    endless: list[Any] = []
    endless.append(endless)
    return False, {"a": endless}


def raises(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> NoReturn:
    """Raise the built-in exception of that name."""
    raise pkgutil.resolve_name(f"builtins:{data['name']}")(data.get("text", ""))


class TwoArgumentsError(Exception):
    """Can be pickled but not unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class UnpicklableError(Exception):
    """Can't be pickled."""

    def __init__(self) -> None:
        super().__init__("it holds a lock")
        self.lock = threading.Lock()


class SpeechlessError(Exception):
    """Can't be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


_EXCEPTIONS = {
    "two arguments": lambda: TwoArgumentsError("one", "two"),
    "unpicklable": UnpicklableError,
    "speechless": SpeechlessError,
}


def raises_own(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> NoReturn:
    """Raise an exception that no pickle survives."""
    raise _EXCEPTIONS[data["which"]]()


def exits(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> NoReturn:
    """Call ``sys.exit``."""
    sys.exit(data["code"])


def exits_in_thread(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Call ``sys.exit`` where it ends a thread only."""
    thread = threading.Thread(target=sys.exit, args=(5,))
    thread.start()
    thread.join()
    return False, "went on"


def sleeps(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Sleep too long, having touched ``data["started"]``."""
    if "started" in data:
        Path(data["started"]).touch()
    time.sleep(_PATIENCE)
    return False, "slept"


def holds(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Touch ``data["started"]`` and go on when ``data["release"]`` appears."""
    Path(data["started"]).touch()
    wait_for(data["release"])
    return False, "released"


def watches_flags(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Touch ``data["started"]`` and run until the shutdown request.

    Tell when the last look was begun that did not show it: how long a look takes, and what goes
    on between two, is the machine's affair.
    """
    missed = time.monotonic()
    before = [worker_data.received_shutdown_request, worker_data.received_termination_notice]
    Path(data["started"]).touch()
    deadline = time.monotonic() + _PATIENCE
    while (begun := time.monotonic()) < deadline and not worker_data.received_shutdown_request:
        missed = begun
        time.sleep(0.001)
    return False, {
        "before": before,
        "after": [worker_data.received_shutdown_request, worker_data.received_termination_notice],
        "missed": missed,
    }


def spoils_worker_data(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Tell what it was given and overwrite it."""
    given = {"colour": worker_data.colour, "args.n": worker_data.args.n}
    worker_data.colour = "spoilt"
    worker_data.args.n = -1
    return False, given
