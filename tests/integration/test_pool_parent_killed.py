"""``kill -9`` of the worker leaves nothing behind."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import psutil
import pytest
from integration import pool_programs

from cloud_tasks.testing import eventually

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
    if sys.argv[2] == "guardian killed":
        for child in psutil.Process().children():
            child.kill()
    for n in range(2):
        executor.submit(Task(str(n), {"hold_gil": sys.argv[2] == "lock held"}))
    time.sleep(60)
"""


@pytest.mark.parametrize("situation", ["plain", "lock held", "guardian killed"])
@pytest.mark.parametrize("executor", ["loky", "spawn"])
def test_nothing_is_left_two_seconds_after_the_worker_was_killed(
    tmp_path: Path, executor: str, situation: str
) -> None:
    files = _flag_files()
    with pool_programs.launch(
        tmp_path, _PARENT, executor, situation, stderr=subprocess.DEVNULL
    ) as program:
        assert program.stdout is not None
        pids = [int(pid) for _ in range(2) for pid in program.stdout.readline().split()]
        everybody = [*pids, *(p.pid for p in psutil.Process(program.pid).children(recursive=True))]
        assert len(pids) == 6
        program.kill()
        killed = time.monotonic()
        eventually(lambda: not _alive(everybody), 5, what="the end of all processes")
        took = time.monotonic() - killed
    # The guardian itself looks about for up to two seconds.
    assert took < 3
    eventually(lambda: _flag_files() <= files, 5, what="the end of the flag file")


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and not _is_zombie(pid)]


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _flag_files() -> set[Path]:
    return set(Path("/dev/shm").glob("cloud_tasks-*"))
