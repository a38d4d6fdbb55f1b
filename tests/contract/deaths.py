"""Task functions whose process comes to an end, or should."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from cloud_tasks.worker_data import WorkerData

Data = dict[str, Any]


def os_exit(task_id: str, data: Data, worker_data: WorkerData) -> NoReturn:
    os._exit(data["code"])


def killed_by(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), data["signal"])
    time.sleep(60)


def sys_exit_with_thread(task_id: str, data: Data, worker_data: WorkerData) -> NoReturn:
    threading.Thread(target=time.sleep, args=(60,)).start()
    sys.exit(7)


def python_loop(task_id: str, data: Data, worker_data: WorkerData) -> NoReturn:
    while True:
        pass


def long_c_call(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    return 3 ** (10**9)


def ignores_sigterm(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(60)


def swallows_everything(task_id: str, data: Data, worker_data: WorkerData) -> NoReturn:
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001 - a task that will not be stopped
            continue


def sets_clock(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Turn the wall clock, as far as Python code sees it, by hours; then run too long."""
    real = time.time
    time.time = lambda: real() + data["by"]
    time.sleep(60)


def sets_monotonic_clock(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    time.monotonic = lambda: 1e15
    return False, os.getpid()


def forks_and_returns(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Return in the original and in the copy."""
    me = os.getpid()
    os.fork()
    return False, {"original": os.getpid() == me}


def forks_and_raises_in_copy(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    pid = os.fork()
    if pid == 0:
        raise ValueError("in the copy")
    os.waitpid(pid, 0)
    return False, "original"


def dies_before_its_fork(task_id: str, data: Data, worker_data: WorkerData) -> NoReturn:
    """Leave a copy that holds all descriptors, and die."""
    copy = os.fork()
    if copy == 0:
        time.sleep(60)
    Path(data["pids"]).write_text(str(copy))
    os._exit(3)


def dies_during_the_result(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Be killed, or stopped, when half of a large result is on its way."""
    write = os.write

    def halve(descriptor: int, content: Any) -> int:
        if len(content) < data["size"]:
            return write(descriptor, content)
        # A thread that watches how much is under way might look when all of it has arrived.
        write(descriptor, content[: len(content) // 2])
        os.kill(os.getpid(), data["signal"])
        return 0

    os.write = halve
    return False, "x" * data["size"]


_GRAB = "b = bytearray({}); b[::4096] = b'x' * len(b[::4096]); import time; time.sleep(60)"


def uses_memory(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    hoard = bytearray(data["size"])
    hoard[::4096] = b"x" * len(hoard[::4096])
    time.sleep(60)


def uses_memory_below(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Use the memory in a process of its own."""
    subprocess.run([sys.executable, "-S", "-c", _GRAB.format(data["size"])], check=True)


def notes_pid(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Note the task's process, then be there to be killed for a moment."""
    Path(data["folder"], task_id).write_text(str(os.getpid()))
    Path(data["folder"], f"ran-{os.getpid()}").touch()
    time.sleep(data["seconds"])
    return False, task_id
