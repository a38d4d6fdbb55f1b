"""What the machine limits: descriptors, processes, output, memory of the worker."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from integration import pool_programs

EXECUTORS = ["loky", "spawn", "forkserver"]

_FEW_DESCRIPTORS = """
import resource, logging
logging.basicConfig()

def process(task_id, data, worker_data):
    return False, int(task_id)

if __name__ == "__main__":
    load("executor", sys.argv[1])()  # import all first
    import loky
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    try:
        executor = start(process, slots=32)
    except CloudTasksError as error:
        print(type(error).__name__, error)
        sys.exit()
    futures = [executor.submit(Task(str(n), {})) for n in range(60)]
    print("sum", sum(future.result(40).result for future in futures), "slots", executor.slots)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_few_descriptors_mean_fewer_slots_and_a_warning(tmp_path: Path, executor: str) -> None:
    printed = pool_programs.run(tmp_path, _FEW_DESCRIPTORS, executor, "40")
    assert "file descriptors are scarce" in printed
    assert "sum 1770 slots" in printed
    assert 1 <= int(printed.partition("sum 1770 slots ")[2].split()[0]) < 32


@pytest.mark.parametrize("executor", EXECUTORS)
def test_too_few_descriptors_for_one_slot_are_an_error(tmp_path: Path, executor: str) -> None:
    printed = pool_programs.run(tmp_path, _FEW_DESCRIPTORS, executor, "18")
    assert "ExecutorBrokenError" in printed
    assert "ulimit -n" in printed


_EATEN_DESCRIPTORS = """
import resource, logging, threading

def process(task_id, data, worker_data):
    return False, int(task_id)

eaten = []

class Listener(logging.Handler):
    # Five starts that fail are the end of a pool, so the lack is over when the first one has.
    met = threading.Event()
    def emit(self, record):
        while eaten:
            os.close(eaten.pop())
        self.met.set()

if __name__ == "__main__":
    logging.getLogger("cloud_tasks").addHandler(Listener())
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
    executor = start(process, slots=1)
    try:
        while True:
            eaten.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    future = executor.submit(Task("7", {}))
    assert Listener.met.wait(30), "it did not meet the lack"
    print(future.result(30).result)
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_passing_lack_of_descriptors_loses_no_task(tmp_path: Path, executor: str) -> None:
    assert "7" in pool_programs.run(tmp_path, _EATEN_DESCRIPTORS, executor)


_NONE_LEFT = """
import resource

def process(task_id, data, worker_data):
    if task_id == "hoards":
        hoard = []
        while True:
            hoard.append(b"x" * 2**20)
    Path(sys.argv[2]).touch()
    time.sleep(40)

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
    executor = start(process, slots=1, memory_limit=200 * 2**20)
    future = executor.submit(Task("sleeps", {}))
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
    eaten = []
    try:
        while True:
            eaten.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    time.sleep(0.5)  # time for whoever looks at memory to meet the lack
    executor.abort(future, "enough")
    print(future.result(30))
    for descriptor in eaten:
        os.close(descriptor)
    print(executor.submit(Task("hoards", {})).result(30))
    executor.shutdown()
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_where_no_descriptor_is_left_tasks_are_ended_and_watched_all_the_same(
    tmp_path: Path, executor: str
) -> None:
    printed = pool_programs.run(tmp_path, _NONE_LEFT, executor, str(tmp_path / "begun"))
    assert "Aborted(reason='enough'" in printed
    assert "OverMemory(" in printed
    assert "Traceback" not in printed


_MUCH_OUTPUT = """
def process(task_id, data, worker_data):
    line = "x" * 1023
    for _ in range(data["kib"]):
        print(line)
    sys.stdout.write("y" * 2**20)
    return False, None

def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) // 1024

if __name__ == "__main__":
    executor = start(process, slots=2)
    executor.submit(Task("small", {"kib": 1})).result(30)
    before = peak()
    futures = [executor.submit(Task("big", {"kib": int(sys.argv[2]) * 512})) for _ in range(2)]
    outcomes = {type(future.result(50)).__name__ for future in futures}
    executor.shutdown()
    print(outcomes, peak() - before, file=sys.stderr)
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_much_output_does_not_cost_the_worker_memory(tmp_path: Path, executor: str) -> None:
    mib = os.environ.get("CLOUD_TASKS_TEST_OUTPUT_MIB", "100")
    with pool_programs.launch(
        tmp_path, _MUCH_OUTPUT, executor, mib, stdout=subprocess.DEVNULL
    ) as program:
        _, told = program.communicate(timeout=55)
    assert program.returncode == 0, told
    outcomes, growth = told.rsplit(None, 1)
    assert outcomes == "{'Completed'}"
    assert int(growth) < 8


_MANY_TASKS = """
def process(task_id, data, worker_data):
    return False, "x" * 1000

def rss():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 2**20

def some(executor, n):
    for _ in range(n // 100):
        for future in [executor.submit(Task("t", {})) for _ in range(100)]:
            future.result(30)

if __name__ == "__main__":
    executor = start(process, slots=2)
    some(executor, 2_000)
    before = rss()
    some(executor, 10_000)
    print(rss() - before)
    executor.shutdown()
"""


def test_many_tasks_do_not_cost_the_worker_memory(tmp_path: Path) -> None:
    assert int(pool_programs.run(tmp_path, _MANY_TASKS, "loky")) < 5
