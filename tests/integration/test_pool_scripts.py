"""Functions of a user's own script."""

from __future__ import annotations

from pathlib import Path

import pytest
from integration import pool_programs

pytestmark = pytest.mark.interpreter

EXECUTORS = ["loky", "spawn", "forkserver"]

_GUARDED = """
import threading
LOCK = threading.Lock()  # can't be pickled
CACHE = []

class Point:
    def __init__(self, x): self.x = x

def process(task_id, data, worker_data):
    with LOCK:
        CACHE.append(task_id)
    return False, [len(CACHE), data["point"].x, isinstance(data["point"], Point), __name__]

if __name__ == "__main__":
    executor = start(process)
    futures = [executor.submit(Task(str(n), {"point": Point(n)})) for n in range(3)]
    for future in futures:
        print(future.result(30).result)
    executor.shutdown()
"""


@pytest.mark.parametrize(
    ("executor", "cached"),
    [("loky", [1, 2, 3]), ("spawn", [1, 1, 1]), ("forkserver", [1, 1, 1])],
)
def test_a_scripts_function_keeps_its_globals_as_its_process_lives(
    tmp_path: Path, executor: str, cached: list[int]
) -> None:
    printed = pool_programs.run(tmp_path, _GUARDED, executor)
    assert printed.splitlines() == [
        f"[{calls}, {n}, True, '__mp_main__']" for n, calls in enumerate(cached)
    ]


_UNGUARDED = """
def process(task_id, data, worker_data):
    return False, 1

def broken(error):
    print("broken:", error, flush=True)

executor = start(process, on_broken=broken)
print(executor.submit(Task("t", {})).result(30))
executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_script_without_a_guard_gets_one_clear_error(tmp_path: Path, executor: str) -> None:
    printed = pool_programs.run(tmp_path, _UNGUARDED, executor)
    assert printed.count("broken:") == 1
    assert 'under `if __name__ == "__main__":`' in printed
    assert "Aborted" in printed


_PRINTING = """
def process(task_id, data, worker_data):
    print("partial line of", task_id, end="")
    if task_id == "dies":
        print(flush=True)
        os._exit(1)
    return False, None

if __name__ == "__main__":
    executor = start(process)
    for name in ("completes", "dies"):
        executor.submit(Task(name, {})).result(30)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_a_task_prints_is_not_lost(tmp_path: Path, executor: str) -> None:
    printed = pool_programs.run(tmp_path, _PRINTING, executor)
    assert "partial line of completes" in printed
    assert "partial line of dies" in printed


_ATEXIT = """
import atexit
def process(task_id, data, worker_data):
    atexit.register(Path(data["file"]).write_text, "done")
    return False, None

if __name__ == "__main__":
    executor = start(process)
    executor.submit(Task("t", {"file": sys.argv[2]})).result(30)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_atexit_work_of_a_finished_process_runs(tmp_path: Path, executor: str) -> None:
    pool_programs.run(tmp_path, _ATEXIT, executor, str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "done"


_NO_SHUTDOWN = """
def process(task_id, data, worker_data):
    if data: time.sleep(60)
    return False, os.getpid()

if __name__ == "__main__":
    executor = start(process)
    print(executor.submit(Task("t", {})).result(30).result)
    executor.submit(Task("t", {"sleep": True}))
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_program_that_forgets_the_shutdown_ends_all_the_same(
    tmp_path: Path, executor: str
) -> None:
    assert pool_programs.run(tmp_path, _NO_SHUTDOWN, executor).strip().isdigit()
