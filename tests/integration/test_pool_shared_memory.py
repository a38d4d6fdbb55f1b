"""Named shared memory and semaphores of tasks are gone when the worker is, however both ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from integration import pool_programs

from cloud_tasks.testing import eventually

pytestmark = pytest.mark.interpreter

_PROGRAM = """
import multiprocessing
from multiprocessing import managers, shared_memory

#: Objects that must not be collected, which would remove their names.
kept = []

def make(folder, task_id):
    before = set(os.listdir("/dev/shm"))
    kept.append(shared_memory.SharedMemory(create=True, size=4096))
    context = multiprocessing.get_context("spawn")
    kept.append((context.Lock(), context.Semaphore(2), context.Queue()))
    manager = managers.SharedMemoryManager()
    manager.start()
    kept.append((manager, manager.SharedMemory(4096)))
    scratch = Path(folder, task_id + ".part")
    # Of others that run at the same time, too: they go as well.
    scratch.write_text(" ".join(set(os.listdir("/dev/shm")) - before))
    scratch.rename(Path(folder, task_id))

def process(task_id, data, worker_data):
    make(data["folder"], task_id)
    if task_id == "exit":
        os._exit(3)
    if task_id == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if task_id == "memory":
        hoard = b"x" * 2**29
    time.sleep(60)

if __name__ == "__main__":
    executor = start(process, slots=2, memory_limit=2**28)
    names = sys.argv[3:]
    limits = {"limit": 3.0}
    futures = [
        executor.submit(Task(name, {"folder": sys.argv[2]}), max_runtime=limits.get(name))
        for name in names
    ]
    for future in futures:
        print(type(future.result()).__name__, flush=True)
    executor.shutdown()
"""


def _left(names: set[str]) -> list[str]:
    return [name for name in names if Path("/dev/shm", name).exists()]


def _made(folder: Path, *tasks: str) -> set[str]:
    return {name for task in tasks for name in (folder / task).read_text().split()}


@pytest.mark.parametrize("executor", ["loky", "spawn", "forkserver"])
def test_nothing_is_left_of_tasks_that_did_not_return(tmp_path: Path, executor: str) -> None:
    tasks = ("exit", "crash", "memory", "limit")
    out = pool_programs.run(tmp_path, _PROGRAM, executor, str(tmp_path), *tasks)
    assert out.split()[:4] == ["Exited", "Exited", "OverMemory", "TimedOut"]
    made = _made(tmp_path, *(task for task in tasks if (tmp_path / task).exists()))
    assert len(made) >= 6, made
    assert not _left(made)


@pytest.mark.parametrize("executor", ["loky", "spawn", "forkserver"])
def test_nothing_is_left_after_kill_9_of_the_worker(tmp_path: Path, executor: str) -> None:
    with pool_programs.launch(
        tmp_path, _PROGRAM, executor, str(tmp_path), "a", "b", stderr=subprocess.DEVNULL
    ) as program:
        eventually(lambda: (tmp_path / "a").exists() and (tmp_path / "b").exists())
        program.kill()
    made = _made(tmp_path, "a", "b")
    assert len(made) >= 6, made
    eventually(lambda: not _left(made), what="the removal of what tasks had made")


_HANDED_ON = """
from multiprocessing import shared_memory

def process(task_id, data, worker_data):
    if task_id == "makes":
        segment = shared_memory.SharedMemory(create=True, size=4096)
        segment.buf[:2] = b"ok"
        return False, segment.name
    segment = shared_memory.SharedMemory(name=data["name"])
    text = bytes(segment.buf[:2]).decode()
    segment.close()
    return False, text

if __name__ == "__main__":
    mine = shared_memory.SharedMemory(create=True, size=4096)
    mine.buf[:2] = b"me"
    executor = start(process, slots=1)
    name = executor.submit(Task("makes", {})).result().result
    for which in (name, mine.name, mine.name):
        print(executor.submit(Task("reads", {"name": which})).result().result)
    executor.shutdown()
    # A result may be handed to the program in this way, too.
    theirs = shared_memory.SharedMemory(name=name)
    print(bytes(theirs.buf[:2]).decode())
    shared_memory.SharedMemory(name=mine.name).close()
    mine.unlink()
    Path(sys.argv[2]).write_text(name)
"""


@pytest.mark.parametrize("executor", ["loky", "spawn", "forkserver"])
def test_a_segment_is_there_for_later_tasks_and_the_program_until_that_ends(
    tmp_path: Path, executor: str
) -> None:
    name = tmp_path / "name"
    out = pool_programs.run(tmp_path, _HANDED_ON, executor, str(name))
    assert out.split()[:4] == ["ok", "me", "me", "ok"]
    eventually(lambda: not _left({name.read_text()}))
