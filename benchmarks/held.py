"""Hold a worker with a waiting task in every slot, so that it can be measured from outside."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.checkout import wait_until
from benchmarks.files import write_tasks

#: Seconds within which every slot must have a task.
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Held:
    """A worker whose tasks all wait.

    Attributes:
        worker: its pid.
        children: the pids of the processes of tasks.
        boot: seconds from its start until each slot ran a task.
    """

    worker: int
    children: list[int]
    boot: float


@contextlib.contextmanager
def held(executor: str, slots: int, before: int = 0) -> Iterator[Held]:
    """Start a worker, wait until its slots are busy, and end it afterwards.

    Args:
        executor: its name.
        slots: their number.
        before: number of no-op tasks that run first.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gate, begun = folder / "gate", folder / "begun"
        os.mkfifo(gate)
        way = os.open(gate, os.O_RDWR)
        begun.mkdir()
        waits = {"gate": str(gate), "begun": str(begun)}
        tasks = [{"task_id": f"before-{n}", "data": {}} for n in range(before)]
        tasks += [{"task_id": f"waits-{n}", "data": waits} for n in range(slots)]
        file = write_tasks(folder / "tasks.json", tasks)
        command = [sys.executable, "-m", "cloud_tasks", "worker", "benchmarks.gated:wait_at_gate"]
        command += ["--task-file", str(file), "--event-log-file", str(folder / "events.log")]
        command += ["--executor", executor, "--num-simultaneous-tasks", str(slots)]
        began = time.monotonic()
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
            try:
                wait_until(
                    lambda: len(os.listdir(begun)) == slots,  # noqa: PTH208 - the quickest
                    _PATIENCE,
                    f"{slots} tasks that run",
                )
                boot = time.monotonic() - began
                yield Held(worker.pid, [int(note.name) for note in begun.iterdir()], boot)
                os.write(way, b"." * slots)
                assert worker.wait(_PATIENCE) == 0
            finally:
                worker.kill()
                os.close(way)
