"""A task that leaves a note of each call, in a module that child processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from cloud_tasks.worker_data import WorkerData


def note(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> tuple[bool, None]:
    """Write down that it was called; then die, or stay, if so asked."""
    with Path(data["log"]).open("a") as log:
        log.write(f"{task_id} {os.getpid()}\n")
    if "die" in data:
        os.kill(os.getpid(), signal.SIGKILL)
    if "touch" in data:
        Path(data["touch"]).touch()
    while "stay" in data and not Path(data["stay"]).exists():
        time.sleep(0.005)
    return False, None
