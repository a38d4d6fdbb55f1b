"""Task functions that change their process, and one that looks at it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cloud_tasks.worker_data import WorkerData

Data = dict[str, Any]
calls = 0


def counts(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Tell how many tasks this process has run, by a global of this module."""
    global calls
    calls += 1
    return False, {"calls": calls, "pid": os.getpid()}


def looks(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Describe the process as the task finds it."""
    root = logging.getLogger()
    umask = os.umask(0o22)
    os.umask(umask)
    return False, {
        "cwd": str(Path.cwd()),
        "environ": {k: v for k, v in os.environ.items() if k.startswith("TEST_")},
        "umask": umask,
        "handlers": [
            repr(signal.getsignal(number)).split(" at ")[0]
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGINT)
        ],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "log": [root.level, len(root.handlers), len(root.filters), root.manager.disable],
        "stdout": [type(sys.stdout).__name__, sys.stdout is sys.__stdout__],
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0] > 0,
    }


def leaves_folder(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    os.chdir(data["folder"])
    return False, None


def removes_its_folder(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    folder = Path(data["folder"], "gone")
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()
    return False, None


def changes_environment(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    os.environ["TEST_NEW"] = "1"
    os.environ["TEST_GIVEN"] = "changed"
    os.environ.pop("TEST_TAKEN", None)
    return False, None


def changes_umask(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    os.umask(0o777)
    return False, None


def changes_signals(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    return False, None


def changes_logging(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    root = logging.getLogger()
    root.setLevel(1)
    root.addHandler(logging.NullHandler())
    root.addFilter(lambda record: True)
    logging.disable(logging.CRITICAL)
    return False, None


def replaces_stdout(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    import io

    sys.stdout = io.StringIO()
    return False, None


def closes_stdout(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    sys.stdout.close()
    return False, None


def leaves_alarm(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Leave an alarm that would kill the process while the next task runs.

    It must not ring before this one has been answered, wherever the machine spends its time.
    """
    signal.setitimer(signal.ITIMER_REAL, data.get("seconds", 60))
    return False, time.monotonic()


def waits_until(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    threading.Event().wait(data["moment"] - time.monotonic())
    return False, "not disturbed"


def raises_after_changes(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    os.chdir("/")
    os.environ["TEST_NEW"] = "1"
    raise ValueError


def leaves_process_with_memory(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Leave a process behind that holds memory, and lives until this one ends."""
    program = f"x = b'x' * {data['size']}; print(flush=True); import sys; sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-S", "-c", program], **pipes)  # type: ignore[call-overload]
    process.stdout.readline()
    setattr(sys.modules[__name__], f"process_{task_id}", process)
    return False, os.getpid()


def keeps_memory(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Leave memory behind in a global, as a leak would."""
    hoard = bytearray(data["size"])
    hoard[::4096] = b"x" * len(hoard[::4096])
    setattr(sys.modules[__name__], f"hoard_{task_id}", hoard)
    return False, os.getpid()
