"""Task functions that print, and that die while they do."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from cloud_tasks.worker_data import WorkerData

Data = dict[str, Any]


def in_every_way(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Print the task's id by Python, by C, by a system call and by two other processes."""
    print("python", task_id)
    print("stderr", task_id, file=sys.stderr)
    os.write(1, f"raw {task_id}\n".encode())
    ctypes.CDLL(None).printf(b"c %s, the end without a line end", task_id.encode())
    subprocess.run(["echo", "subprocess", task_id], check=True)
    copy = os.fork()
    if copy == 0:
        os.write(2, f"copy {task_id}\n".encode())
        os._exit(0)
    os.waitpid(copy, 0)
    return False, os.getpid()


def prints(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    print(data["text"], end=data.get("end", "\n"))
    return False, None


def dies_in_mid_line(task_id: str, data: Data, worker_data: WorkerData) -> NoReturn:
    os.write(1, b"half a li")
    os._exit(3)


def prints_and_sleeps(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    print("about to sleep")
    time.sleep(40)


def prints_and_exits(task_id: str, data: Data, worker_data: WorkerData) -> NoReturn:
    os.write(1, data["bytes"])
    os._exit(3)


def exits_with_words(task_id: str, data: Data, worker_data: WorkerData) -> NoReturn:
    print("a line before")
    sys.exit("so be it")


def closes_standard_descriptors(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    os.close(1)
    os.close(2)
    return False, None


def tells_standard_descriptors(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Print to both, and tell which files they are."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        print("to", number, file=stream)
    return False, [[os.fstat(n).st_dev, os.fstat(n).st_ino] for n in (1, 2)]


def redirects_standard_descriptors(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    file = os.open(data["file"], os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    return False, None


def crashes_in_c(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Be ended by a real access violation, in a function with a name of its own."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return False, reads_from_nowhere()


def reads_from_nowhere() -> bytes:
    return ctypes.string_at(0)


def turns_the_fault_handler(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Switch off what tells of crashes, or have it tell somewhere else."""
    if data["on"]:
        faulthandler.enable()
    else:
        faulthandler.disable()
    return False, None


def dies_after_its_copy(task_id: str, data: Data, worker_data: WorkerData) -> NoReturn:
    """Let a forked copy crash in C, then abort without Python's knowing."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    copy = os.fork()
    if copy == 0:
        reads_from_nowhere()
    os.waitpid(copy, 0)
    os.kill(os.getpid(), data["signal"])
    time.sleep(40)
    raise AssertionError


def prints_without_room(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Print while files must not grow, then again when they may."""
    print("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.fstat(1).st_size + 5, hard))
    for _ in range(3):
        print("x" * 100)
        print("y" * 100_000, file=sys.stderr)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    print("after")
    return False, None


def leaves_no_room(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Let no file of this process grow any more; return its pid."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    return False, os.getpid()


def removes(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    shutil.rmtree(data["folder"])
    print("still there")
    return False, None


def tells_environment(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    seen = {name: os.environ.get(name) for name in data["names"]}
    os.environ.update(dict.fromkeys(data["names"], "spoilt"))
    return False, seen


def waits_for(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    Path(data["started"]).touch()
    deadline = time.monotonic() + 40
    while not Path(data["release"]).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return False, None
