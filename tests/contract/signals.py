"""Task functions that get stop signals, or send them to processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cloud_tasks.testing.executor_tasks import wait_for
from cloud_tasks.worker_data import WorkerData

Data = dict[str, Any]
_SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def holds(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Note the pid, wait for ``release``, then end as the test says."""
    if data.get("default"):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    scratch = Path(data["started"] + ".part")
    scratch.write_text(str(os.getpid()))
    scratch.rename(data["started"])
    wait_for(data["release"])
    if data["end"] == "raise":
        raise ChildProcessError("a helper died of SIGTERM")
    if data["end"] == "exit":
        sys.exit(1)
    if data["end"] == "os._exit":
        os._exit(1)
    return False, "went on"


def has_own_handler(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Set a handler of SIGTERM, and get one."""
    got: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    os.kill(os.getpid(), signal.SIGTERM)
    deadline = time.monotonic() + 30
    while not got and time.monotonic() < deadline:
        time.sleep(0.001)
    return False, got


def terminates_helpers(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Return the exit codes of own processes that get SIGTERM, some of them right away."""
    codes: list[int | None] = []
    for _ in range(data["times"]):
        helper = multiprocessing.get_context(data["method"]).Process(target=time.sleep, args=(60,))
        helper.start()
        helper.terminate()
        helper.join()
        codes.append(helper.exitcode)
    with subprocess.Popen(_SLEEP) as program:
        program.terminate()
        codes.append(program.wait())
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
    os.kill(pid, signal.SIGTERM)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return False, list(set(codes))
