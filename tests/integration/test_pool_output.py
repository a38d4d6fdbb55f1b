"""What whole programs print with task logs on, and how the kernel's own kill is told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration import pool_programs

from cloud_tasks.testing import eventually

WAIT = 40.0
EXECUTORS = ["loky", "spawn", "forkserver"]

_NOISY = """
from threading import Event

os.write(1, b"noise of a boot\\n")
print("more noise")
Path(sys.argv[2], f"booted-{os.getpid()}").touch()

def process(task_id, data, worker_data):
    print("begin", task_id)
    deadline = time.monotonic() + 30
    # A fresh process has its successor booted while it runs.
    while len(list(Path(data["folder"]).glob("booted-*"))) < data["boots"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    print("end", task_id)
    return False, None

if __name__ == "__main__":
    folder = Path(sys.argv[2], "logs")
    folder.mkdir()
    reused = sys.argv[1] != "spawn"  # a zygote boots once for all that it forks
    executor = start(process, slots=1, task_logs=str(folder))
    boots = [2, 2, 2] if reused else [3, 4, 4]  # ours is one of them, and the last has no successor
    data = [{"folder": sys.argv[2], "boots": number} for number in boots]
    for future in [executor.submit(Task(str(n), data[n])) for n in range(3)]:
        print(future.result(40))
    executor.shutdown()
    print((folder / "slot-000.log").read_text(), file=sys.stderr)
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_a_process_prints_while_it_boots_is_no_tasks(tmp_path: Path, executor: str) -> None:
    with pool_programs.launch(tmp_path, _NOISY, executor, str(tmp_path)) as program:
        out, log = program.communicate(timeout=55)
    assert program.returncode == 0, log
    assert out.count("Completed") == 3, out
    assert out.count("noise of a boot") == out.count("more noise") >= 2
    assert log.split() == [word for n in range(3) for word in ("begin", str(n), "end", str(n))]


_LOGS = """
import logging

def process(task_id, data, worker_data):
    logging.getLogger("mine").warning("of %s", task_id)
    return False, None

if __name__ == "__main__":
    folder = Path(sys.argv[2], "logs")
    folder.mkdir()
    executor = start(process, slots=1, task_logs="logs", log_level=logging.INFO)
    os.chdir("/")
    for n in range(2):
        executor.submit(Task(f"task {n}", {})).result(40)
    executor.shutdown()
    print((folder / "slot-000.log").read_text())
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_log_records_of_a_task_are_in_its_log_and_a_relative_folder_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = pool_programs.run(tmp_path, _LOGS, executor, str(tmp_path))
    assert [line.rpartition("mine: ")[2] for line in printed.split("\n") if "mine" in line] == [
        "of task 0",
        "of task 1",
    ]


_UNBUFFERED = """
def process(task_id, data, worker_data):
    print("no line end", end="")
    os._exit(3)

if __name__ == "__main__":
    executor = start(process, slots=1, task_logs=sys.argv[2])
    print("found", executor.submit(Task("t", {})).result(40).crash_info.last_output)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_unbuffered_means_unbuffered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    printed = pool_programs.run(tmp_path, _UNBUFFERED, executor, str(tmp_path))
    assert "found no line end" in printed


_IMPORTS = """
seen_at_import = os.environ.get("OMP_NUM_THREADS")

def process(task_id, data, worker_data):
    return False, seen_at_import

if __name__ == "__main__":
    executor = start(process, slots=1, environment={"OMP_NUM_THREADS": "5"})
    print("saw", executor.submit(Task("t", {})).result(40).result)
    executor.shutdown()
    assert "OMP_NUM_THREADS" not in os.environ
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_variables_are_there_before_anything_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "saw 5" in pool_programs.run(tmp_path, _IMPORTS, executor)


_CRASHES_AT_IMPORT = """
import ctypes, resource

def falls():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)

if __name__ == "__mp_main__":
    falls()

def process(task_id, data, worker_data):
    return False, None

if __name__ == "__main__":
    import logging, threading
    logging.basicConfig()
    broken = threading.Event()
    executor = start(process, slots=1, on_broken=lambda error: broken.set())
    executor.submit(Task("t", {}))
    assert broken.wait(40)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_crash_while_the_program_is_imported_tells_where(tmp_path: Path, executor: str) -> None:
    printed = pool_programs.run(tmp_path, _CRASHES_AT_IMPORT, executor)
    assert "Segmentation fault" in printed
    assert "in falls" in printed
    assert "it ended with exit code -11" in printed


_HOARDS = """
def process(task_id, data, worker_data):
    if data["hoard"]:
        hoard = []
        while True:
            hoard.append(b"x" * 2**20)
    return False, "innocent"

if __name__ == "__main__":
    with open(sys.argv[2], "w") as group:
        group.write(str(os.getpid()))
    executor = start(process, slots=2)
    futures = [executor.submit(Task(str(n), {"hoard": n == 1})) for n in range(2)]
    for future in futures:
        print(future.result(40))
    executor.shutdown()
"""


@contextlib.contextmanager
def small_group(limit: int) -> Iterator[Path]:
    """Make a control group of *limit* bytes, and yield the file that takes its processes."""
    root = Path("/sys/fs/cgroup")
    v1 = (root / "memory" / "memory.limit_in_bytes").exists()
    folder = (root / "memory" if v1 else root) / f"cloud-tasks-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        try:
            (folder / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit))
            if not v1:
                (folder / "memory.swap.max").write_text("0")
        except OSError as error:
            pytest.skip(f"control groups limit no memory here: {error}")
        yield folder / "cgroup.procs"
    finally:
        # What the program has started may take a moment longer to end than the program.
        eventually(lambda: _removed(folder), WAIT, what=f"{folder} empty")


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_kernels_kill_for_want_of_memory_is_told_and_hurts_nobody_else(
    tmp_path: Path, executor: str
) -> None:
    with small_group(300 * 2**20) as group:
        printed = pool_programs.run(tmp_path, _HOARDS, executor, str(group))
    assert "Completed" in printed
    assert "Exited(exit_code=-9, hint='out of memory'" in printed
