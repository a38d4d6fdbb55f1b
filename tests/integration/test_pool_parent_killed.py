"""``kill -9`` of the worker leaves nothing behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest
from integration import pool_programs

from cloud_tasks.executors.common.protocol import MARK
from cloud_tasks.testing import eventually
from cloud_tasks.testing.executor_harness import AT_ONCE

SITUATIONS = ["plain", "lock held", "watchdog killed", "watchdog stopped", "both killed"]


_PARENT = """
import psutil

def process(task_id, data, worker_data):
    command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    started = [subprocess.Popen(command, start_new_session=new) for new in (False, True)]
    line = " ".join(str(pid) for pid in [os.getpid(), *(s.pid for s in started)])
    os.write(1, (line + "\\n").encode())
    if data["hold_gil"]:
        3 ** (10 ** 9)
    time.sleep(60)

if __name__ == "__main__":
    executor = start(process, slots=2)
    if sys.argv[2] == "watchdog killed":
        for child in psutil.Process().children():
            child.kill()
            child.wait()
    for n in range(2):
        executor.submit(Task(str(n), {"hold_gil": sys.argv[2] in ("lock held", "both killed")}))
    time.sleep(60)
"""


@pytest.mark.parametrize("situation", SITUATIONS)
@pytest.mark.parametrize("executor", ["loky", "spawn", "forkserver"])
def test_nothing_is_left_two_seconds_after_the_worker_was_killed(
    tmp_path: Path, executor: str, situation: str
) -> None:
    with pool_programs.launch(
        tmp_path, _PARENT, executor, situation, stderr=subprocess.DEVNULL
    ) as program:
        assert program.stdout is not None
        pids = [int(pid) for _ in range(2) for pid in program.stdout.readline().split()]
        everybody = [*pids, *(p.pid for p in psutil.Process(program.pid).children(recursive=True))]
        assert len(pids) == 6
        for process in psutil.Process(program.pid).children():
            if MARK in " ".join(process.cmdline()):  # its watchdog
                if situation == "watchdog stopped":
                    process.suspend()
                elif situation == "both killed":
                    process.kill()
        program.kill()
        # Two seconds where nothing else goes on. On a busy machine the watchdog has to wait for
        # its turn, and so has each process for its death; left alone they would live for a minute.
        eventually(lambda: not _alive(everybody), AT_ONCE, what="the end of all processes")


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and not _is_zombie(pid)]


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
