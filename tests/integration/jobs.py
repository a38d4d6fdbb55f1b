"""Tasks and workers for the tests of the Worker; light, since child processes import it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cloud_tasks.worker import Worker, WorkerData

_PATIENCE = 30.0


def hold(started: str, worker_data: WorkerData) -> None:
    """Say that the task runs, and that it was asked to stop; run until it may go."""
    Path(started).touch()
    deadline = time.monotonic() + _PATIENCE
    while not Path(started).with_name("release").exists():
        if worker_data.received_shutdown_request:
            Path(started).with_name("asked").touch()
        if time.monotonic() > deadline:
            raise TimeoutError(started)
        time.sleep(0.005)


def perform(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Do what ``data["do"]`` says; by default add up the values of ``data``."""
    match data.get("do"):
        case "raise":
            raise ValueError(data["text"])
        case "exit":
            sys.exit(data["code"])
        case "retry":
            return True, "again"
        case "sleep":
            time.sleep(data["seconds"])
        case "hold":  # until the file is there
            hold(data["started"], worker_data)
            return False, seen(worker_data)
        case "watch":  # until there is a flag to be seen
            Path(data["started"]).touch()
            deadline = time.monotonic() + _PATIENCE
            while not any(seen(worker_data)) and time.monotonic() < deadline:
                time.sleep(0.005)
            return False, seen(worker_data)
        case "tell":  # of worker_data
            return False, [getattr(worker_data, name, None) for name in data["names"]]
    return False, sum(value for value in data.values() if isinstance(value, int))


class Multiply:
    """An instance that can be called, as programs in the world use them."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        return False, self.factor * data["a"]


def seen(worker_data: WorkerData) -> list[bool]:
    return [worker_data.received_shutdown_request, worker_data.received_termination_notice]


def task(task_id: str, **data: Any) -> dict[str, Any]:
    return {"task_id": task_id, "data": data}


def additions(count: int) -> list[dict[str, Any]]:
    return [task(f"t{n}", a=n, b=1) for n in range(count)]


class Site:
    """A folder with an event log, and the workers in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "events.log"

    def worker(self, tasks: Any, *args: str, function: Any = perform, **keywords: Any) -> Worker:
        """Make a worker over *tasks*: a list, a function, or a file name."""
        source = (lambda: tasks) if isinstance(tasks, list) else tasks
        keywords.setdefault("executor", "inline")
        return Worker(
            function,
            task_source=source,
            args=["--event-log-file", str(self.log), *args],
            **keywords,
        )

    def file(self, content: str | Iterable[Any], name: str = "tasks.json") -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(list(content)))
        return str(path)

    def hold(self, task_id: str) -> dict[str, Any]:
        """Make a task that runs until its :meth:`release`."""
        return task(task_id, do="hold", started=self.path("started"))

    def watch(self, task_id: str) -> dict[str, Any]:
        return task(task_id, do="watch", started=self.path("started"))

    def path(self, name: str) -> str:
        return str(self.folder / name)

    @property
    def started(self) -> bool:
        return (self.folder / "started").exists()

    @property
    def asked(self) -> bool:
        return (self.folder / "asked").exists()

    def release(self) -> None:
        (self.folder / "release").touch()

    def all_events(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        text = self.log.read_text()
        assert text == "" or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    def events(self) -> list[dict[str, Any]]:
        """Return all events but those with which each run begins and ends."""
        found = self.all_events()
        return [event for event in found if not event["event_type"].startswith("worker_")]

    def types(self) -> list[str]:
        return [event["event_type"] for event in self.events()]

    def ids(self) -> list[str]:
        return [event["task_id"] for event in self.events() if "task_id" in event]
