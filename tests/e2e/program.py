"""A user's program as a process of its own, and words to treat it badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloud_tasks
from cloud_tasks.testing import eventually

_SRC = str(Path(cloud_tasks.__file__).parent.parent)
#: Seconds within which everything here must be over.
WAIT = 40.0

SCRIPT = """
import sys, time
from pathlib import Path
from cloud_tasks.worker import Worker

def process_task(task_id, data, worker_data):
    started = data.get("started")
    if started:
        Path(started).touch()
        release = Path(started).with_name("release")
        deadline = time.monotonic() + data.get("patience", 30)
        while not release.exists() and time.monotonic() < deadline:
            if worker_data.received_shutdown_request:
                Path(started).with_name("asked").touch()
                if data.get("obeys"):
                    return False, "stopped early"
            time.sleep(0.005)
    return False, "x" * data.get("size", 1)

if __name__ == "__main__":
    Worker(process_task, args=sys.argv[1:]).main()
"""

_BECOME = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


class Program:
    """A folder with a script, its tasks and its event log."""

    def __init__(self, folder: Path, script: str = SCRIPT) -> None:
        self.folder = folder
        self.log = folder / "events.log"
        (folder / "program.py").write_text(script)
        self.process: subprocess.Popen[str] | None = None

    def tasks(self, *items: dict[str, Any]) -> None:
        """Write the task file: the data of each task; they are named by their position."""
        entries = [{"task_id": f"t{n}", "data": data} for n, data in enumerate(items)]
        (self.folder / "tasks.json").write_text(json.dumps(entries))

    def hold(self, **more: Any) -> dict[str, Any]:
        """Make the data of a task that runs until ``release`` appears; *patience* is its limit."""
        return {"started": str(self.folder / "started"), **more}

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def start(
        self, *args: str, env: dict[str, str] | None = None, prepare: str = "", **keywords: Any
    ) -> subprocess.Popen[str]:
        """Start it; *prepare* is Python that its process runs before."""
        command = [sys.executable, "program.py", "--task-file", "tasks.json", *args]
        if prepare:
            command = prepared(prepare, command)
        keywords = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keywords}
        self.process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**environment(), **(env or {})},
            text=True,
            start_new_session=True,
            **keywords,
        )
        return self.process

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return exit code and what it said on stderr."""
        assert self.process is not None
        try:
            _, err = self.process.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            _, err = self.process.communicate()
            raise AssertionError(f"it hangs; it said:\n{err}") from None
        return self.process.returncode, err or ""

    def run(self, *args: str, **keywords: Any) -> tuple[int, str]:
        self.start(*args, **keywords)
        return self.end()

    def until(self, condition: Callable[[], Any] | str) -> None:
        """Wait until *condition* holds, or a file of that name is there."""
        name = condition
        test = (lambda: self.has(name)) if isinstance(name, str) else name
        eventually(test, WAIT, what=str(condition))

    def all_events(self) -> list[dict[str, Any]]:
        text = self.log.read_text() if self.log.exists() else ""
        assert text == "" or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    def events(self) -> list[dict[str, Any]]:
        """Return all events but those with which each run begins and ends."""
        found = self.all_events()
        return [event for event in found if not event["event_type"].startswith("worker_")]

    def endings(self) -> list[tuple[str, str]]:
        return [(e["task_id"], e["event_type"]) for e in self.events() if "task_id" in e]


def prepared(prepare: str, command: list[str]) -> list[str]:
    """Return a command that runs Python *prepare* in its process, and then becomes *command*.

    Not by a ``preexec_fn``: a fork of a process that has used gRPC may abort.
    """
    return [sys.executable, "-c", f"{prepare}\n{_BECOME}", *command]


def environment() -> dict[str, str]:
    """Return ours without settings, in which the package is found."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("RMS_CLOUD")}
    return {**ours, "PYTHONPATH": _SRC}
