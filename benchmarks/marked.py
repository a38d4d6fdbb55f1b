"""Run a worker whose processes can all be found, however they were started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.checkout import environment, wait_until
from benchmarks.files import read_events

_NAME = "CLOUD_TASKS_TRIAL"
#: Seconds that what must not be left may take to end.
_PATIENCE = 5.0


class MarkedWorker:
    """A worker as a process of its own, with a mark that all below it inherit.

    *before* is the beginning of its command.
    """

    def __init__(
        self, folder: Path, function: str, *options: str, before: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self._mark = uuid.uuid4().hex
        with (folder / "stderr").open("wb") as said:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "cloud_tasks", "worker", function, *options],
                cwd=folder,
                env={**environment(), _NAME: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    def processes(self) -> list[int]:
        """Return the pids of all that run with the mark; a zombie does not run."""
        entry = f"{_NAME}={self._mark}".encode()
        found = []
        for path in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if entry in (path / "environ").read_bytes():
                    found.append(int(path.name))
        return found

    def children(self) -> list[int]:
        """Return the pids of its direct children: those of slots, watchdogs, trackers."""
        try:
            return [child.pid for child in psutil.Process(self.process.pid).children()]
        except psutil.Error:
            return []

    def left(self) -> list[int]:
        """Return what still runs some seconds after the end of the worker."""
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not self.processes(), _PATIENCE, "end of all processes")
        return self.processes()

    def said(self) -> str:
        """Return what it has written to stderr."""
        return (self.folder / "stderr").read_text(errors="replace")

    def kill(self) -> None:
        """End everything that bears the mark."""
        for _ in range(100):
            left = self.processes()
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)


def ends_of_tasks(log: Path) -> tuple[list[dict[str, Any]], Counter[str], Counter[str]]:
    """Return the events of tasks in *log*, and their numbers by task and by type."""
    events = [e for e in read_events(log) if "task_id" in e] if log.exists() else []
    return events, Counter(e["task_id"] for e in events), Counter(e["event_type"] for e in events)


def count_bad(label: str, count: int, trial: Callable[[], list[str]]) -> int:
    """Run *trial* that often and print what is wrong each time; return how often anything was."""
    bad = [wrong for _ in range(count) if (wrong := trial())]
    for wrong in bad:
        print("\n  ".join([label, *wrong]))
    print(f"{label}: {count} trials, {len(bad)} bad", flush=True)
    return len(bad)


@contextlib.contextmanager
def marked_worker(
    folder: Path, function: str, *options: str, before: Sequence[str] = ()
) -> Iterator[MarkedWorker]:
    """Start a worker; nothing of it is left at the end of the context."""
    worker = MarkedWorker(folder, function, *options, before=before)
    try:
        yield worker
    finally:
        worker.kill()
        worker.process.wait()
