"""Task functions that start processes, and that mishandle descriptors."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from cloud_tasks.executors.common import protocol
from cloud_tasks.worker_data import WorkerData

Data = dict[str, Any]
_SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
_DAEMON = (
    "import os, sys, time\n"
    "if os.fork(): os._exit(0)\n"
    "os.setsid()\n"
    "if os.fork(): os._exit(0)\n"
    "print(os.getpid(), flush=True); os.close(1); time.sleep(60)\n"
)


def _start(how: str) -> int:
    """Start a process that sleeps; return its number."""
    if how == "fork":
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        return pid
    if how == "daemon":
        command = [sys.executable, "-S", "-c", _DAEMON]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
            return int(started.communicate()[0])
    return subprocess.Popen(_SLEEPER, start_new_session=how == "new session").pid


def leaves(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Start processes of several kinds, note their numbers, and end as the test says."""
    pids = [_start(how) for how in data["kinds"]]
    scratch = Path(data["pids"] + ".part")
    scratch.write_text(" ".join(map(str, [os.getpid(), *pids])))
    scratch.rename(data["pids"])
    if data["end"] == "crash":
        os._exit(9)
    if data["end"] == "sleep":
        time.sleep(60)
    return False, "left them"


def _open_descriptors() -> list[int]:
    """All but the standard ones; a parent that has many open gives its children high numbers."""
    return [int(entry.name) for entry in Path("/dev/fd").iterdir() if int(entry.name) > 2]


def replaces_everything(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Put a file of the user's behind every descriptor, as a careless daemon would."""
    file = os.open(data["file"], os.O_RDWR | os.O_CREAT)
    for descriptor in _open_descriptors():
        os.dup2(file, descriptor)
    return False, "replaced"


def writes_everywhere(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    for descriptor in _open_descriptors():
        with contextlib.suppress(OSError):
            os.set_blocking(descriptor, False)
            os.write(descriptor, data["garbage"])
    return False, "written"


def _socket_end() -> Any:
    """The child's end of its socket, out of the frames that have called the task."""
    frame = sys._getframe()
    while "SocketEnd" not in type(getattr(frame.f_locals.get("self"), "_socket", None)).__name__:
        assert frame.f_back is not None
        frame = frame.f_back
    return frame.f_locals["self"]._socket


def forges(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Write a frame as our own code would, of any kind, with any body."""
    end = _socket_end()
    os.write(end._descriptor, protocol.HEAD.pack(end._cookie, data["kind"], data["length"]))
    os.write(end._descriptor, data["body"])
    time.sleep(60)


def forges_reply(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Write a reply to the job that runs, with any body."""
    frame = sys._getframe()
    while "job" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    head = protocol.REPLY_HEAD.pack(frame.f_locals["job"], *[False] * 3, *[0.0] * 4)
    body = head + data["body"]
    return forges(task_id, {**data, "body": body, "length": len(body)}, worker_data)


def mistreats(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Seek, truncate and overwrite behind every descriptor but the standard ones and copies."""
    standard = [(status.st_dev, status.st_ino) for status in map(os.fstat, (0, 1, 2))]
    for descriptor in _open_descriptors():
        with contextlib.suppress(OSError):
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) in standard:
                continue
        for act in (
            lambda number: os.lseek(number, 0, os.SEEK_SET),
            lambda number: os.ftruncate(number, 0),
            lambda number: os.ftruncate(number, 2**40),
            lambda number: os.pwrite(number, b"\xff" * 4096, 0),
            lambda number: os.posix_fallocate(number, 0, 2**20),
        ):
            with contextlib.suppress(OSError):
                act(descriptor)
    return False, [worker_data.received_shutdown_request, worker_data.received_termination_notice]


def closes_and_goes_on(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    """Close all descriptors, open others in their place, and work on."""
    os.closerange(3, 65536)
    files = [os.open(data["file"], os.O_RDWR | os.O_CREAT) for _ in range(data["opened"])]
    flags = worker_data.received_shutdown_request, worker_data.received_termination_notice
    assert flags == (False, False)
    return False, len(files)


def prints(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    line = "x" * 1023
    for _ in range(data["kib"]):
        print(line)
    return False, "printed"


def uses_multiprocessing(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    with multiprocessing.get_context(data["method"]).Pool(2) as pool:
        return False, pool.map(abs, [-1, -2, 3])


def leaves_thread(task_id: str, data: Data, worker_data: WorkerData) -> Any:
    threading.Thread(target=time.sleep, args=(60,)).start()
    return False, "left it"
