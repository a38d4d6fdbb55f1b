"""Define the functions that benchmarks run, separately, so that children import little."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.light import nothing


def give(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, str]:
    nothing(task_id, task_data, worker_data)
    return False, "x" * (task_data["bytes"] - 2)


def burn(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, None]:
    end = time.thread_time() + task_data["burn"]
    while time.thread_time() < end:
        pass
    return nothing(task_id, task_data, worker_data)


def sleep(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, None]:
    time.sleep(task_data["seconds"])
    return False, None


def die(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, None]:
    os.kill(os.getpid(), signal.SIGKILL)
    return False, None


def sleep_beside_subprocess(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, None]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
        print(f"pids {os.getpid()} {other.pid}", flush=True)
        time.sleep(600)
    return False, None


def wait_for_flag(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, float]:
    Path(task_data["begun"]).touch()
    deadline = time.monotonic() + 20
    while not getattr(worker_data, task_data["flag"]) and time.monotonic() < deadline:
        time.sleep(0.001)
    return False, time.time()


def note_and_sleep(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, None]:
    with Path(task_data["notes"]).open("ab", buffering=0) as notes:
        notes.write(f"{task_id}\n".encode())
    time.sleep(task_data["seconds"])
    return False, None


def print_ten_lines(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, None]:
    end = time.thread_time() + 0.001
    for n in range(10):
        print(f"{task_id}: line {n} of what a task has to say about itself")
    while time.thread_time() < end:
        pass
    return False, None


def meets_a_signal(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, None]:
    kind, seconds = task_data["kind"], task_data["seconds"]
    if kind == "waits":
        subprocess.run(["sleep", str(seconds)], check=True)
        return False, None
    if kind == "handles":
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    elif kind == "default":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(seconds)
    return False, None


def sleep_or_die(task_id: str, task_data: Any, worker_data: Any) -> tuple[bool, None]:
    time.sleep(task_data["seconds"])
    if task_data["dies"]:
        os._exit(9)
    return False, None
