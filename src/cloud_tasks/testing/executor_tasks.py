"""Task functions for the contract of executors; light, because fresh processes import it."""

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
    """Return the value that the test asks for."""
    return data["value"]


def returns_task_data(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Return what the task can read of its own id and data."""
    return False, {
        "task_id": task_id,
        "by key": [data["task_id"], data["data"] == data],
        "contains": "task_id" in data or "data" in data,
        "keys": sorted(data),
    }


async def is_async(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Do nothing, as a coroutine function, which is a mistake."""
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
    """An exception that can be pickled but not unpickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class UnpicklableError(Exception):
    """An exception that can't be pickled."""

    def __init__(self) -> None:
        super().__init__("it holds a lock")
        self.lock = threading.Lock()


class SpeechlessError(Exception):
    """An exception whose ``__str__`` fails."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


_EXCEPTIONS = {
    "two arguments": lambda: TwoArgumentsError("one", "two"),
    "unpicklable": UnpicklableError,
    "speechless": SpeechlessError,
}


def raises_own(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> NoReturn:
    """Raise an exception that pickle can't carry to another process."""
    raise _EXCEPTIONS[data["which"]]()


def exits(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> NoReturn:
    """Call ``sys.exit``."""
    sys.exit(data["code"])


def exits_in_thread(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Call ``sys.exit`` in a thread, where it ends only the thread."""
    thread = threading.Thread(target=sys.exit, args=(5,))
    thread.start()
    thread.join()
    return False, "went on"


def sleeps(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Touch ``data["started"]`` and sleep too long."""
    if "started" in data:
        Path(data["started"]).touch()
    time.sleep(_PATIENCE)
    return False, "slept"


def holds(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Touch ``data["started"]`` and wait until ``data["release"]`` appears."""
    Path(data["started"]).touch()
    wait_for(data["release"])
    return False, "released"


def watches_flags(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Touch ``data["started"]`` and run until the shutdown request.

    Returns, as ``missed``, when the last read began that did not show the request: the duration of
    a read, and a pause between two, depend on the machine.
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
    """Return the worker data that it was given, and overwrite them."""
    given = {"colour": worker_data.colour, "args.n": worker_data.args.n}
    worker_data.colour = "spoilt"
    worker_data.args.n = -1
    return False, given
