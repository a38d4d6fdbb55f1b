"""Records of tasks in child processes, under the configuration of the process that has the pool."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration import loggers, pool_programs

from cloud_tasks import registry
from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.function import specify
from cloud_tasks.outcome import Completed, Exited, Outcome
from cloud_tasks.task import Task
from cloud_tasks.testing import eventually
from cloud_tasks.worker_data import WorkerData

pytestmark = pytest.mark.interpreter

WAIT = 40.0
EXECUTORS = ["loky", "spawn", "forkserver"]
MODULE = loggers.__name__


class Catcher(logging.Handler):
    """Keeps what it is given, and makes whoever gives it wait while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def emit(self, record: logging.LogRecord) -> None:
        assert self.go_on.wait(WAIT)
        self.records.append(record)

    @property
    def told(self) -> list[tuple[object, ...]]:
        """Task, logger, level and message of each record."""
        return [(vars(r)["task_id"], r.name, r.levelname, r.getMessage()) for r in self.records]


@pytest.fixture
def catcher() -> Iterator[Catcher]:
    """What comes to the loggers of the tasks here, from INFO on."""
    catcher, logger = Catcher(), logging.getLogger(MODULE)
    logger.addHandler(catcher)
    logger.setLevel(logging.INFO)
    yield catcher
    logger.removeHandler(catcher)
    logger.setLevel(logging.NOTSET)


@contextlib.contextmanager
def pool(kind: str, **options: Any) -> Iterator[Executor]:
    executor: Executor = registry.load("executor", kind)()
    # No stall of this machine shall look like a handler that is stuck.
    options = {"slots": 2, "log_level": logging.INFO, "exit_grace": WAIT, **options}
    executor.start(specify(loggers.talk), WorkerData(), ExecutorOptions(**options))
    try:
        yield executor
    finally:
        executor.shutdown()


def run(executor: Executor, task_id: str, do: str, **data: Any) -> Outcome:
    return executor.submit(Task(task_id, {"do": do, **data})).result(WAIT)


@pytest.fixture(params=EXECUTORS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_a_handler_here_sees_task_and_slot(kind: str, catcher: Catcher) -> None:
    with pool(kind) as executor:
        for name in ("a", "b"):
            outcome = run(executor, name, "counts")
            assert isinstance(outcome, Completed)
    assert catcher.told == [(name, MODULE, "INFO", "0") for name in ("a", "b")]
    assert {vars(record)["slot"] for record in catcher.records} <= {0, 1}
    assert all(record.process != os.getpid() for record in catcher.records)


def test_the_levels_here_hold_there(kind: str, catcher: Catcher) -> None:
    quiet, chatty = logging.getLogger(f"{MODULE}.quiet"), logging.getLogger(f"{MODULE}.chatty")
    quiet.setLevel(logging.ERROR)
    chatty.setLevel(logging.DEBUG)
    others = [f"{MODULE}.other", quiet.name, chatty.name]
    try:
        with pool(kind) as executor:
            outcome = run(executor, "t", "speaks_at_levels", names=others)
    finally:
        quiet.setLevel(logging.NOTSET)
        chatty.setLevel(logging.NOTSET)
    # The child itself knows what is not worth sending.
    assert isinstance(outcome, Completed)
    assert outcome.result == [logging.INFO, logging.ERROR, logging.DEBUG]
    assert Counter(name for _, name, _, _ in catcher.told) == dict(
        zip(others, (2, 1, 3), strict=True)
    )


def test_a_level_that_rises_later_holds_here(kind: str, catcher: Catcher) -> None:
    with pool(kind) as executor:
        run(executor, "early", "counts")
        eventually(lambda: catcher.records, WAIT, what="the first record")
        logging.getLogger(MODULE).setLevel(logging.ERROR)
        run(executor, "late", "counts")
    assert [task_id for task_id, *_ in catcher.told] == ["early"]


def test_an_exception_comes_with_its_traceback(kind: str, catcher: Catcher) -> None:
    with pool(kind) as executor:
        run(executor, "t", "tells_of_an_exception")
    text = logging.Formatter().format(catcher.records[0])
    assert text.startswith("failed\nTraceback")
    assert text.endswith("ValueError: no such band")


def test_the_last_words_before_a_death_arrive(kind: str, catcher: Catcher) -> None:
    with pool(kind) as executor:
        outcomes = [run(executor, f"t{n}", "dies") for n in range(3)]
    assert all(isinstance(outcome, Exited) for outcome in outcomes)
    assert catcher.told == [(f"t{n}", MODULE, "WARNING", "last words") for n in range(3)]


def test_of_many_records_none_is_lost(kind: str, catcher: Catcher) -> None:
    with pool(kind, slots=4) as executor:
        futures = [
            executor.submit(Task(f"t{n}", {"do": "counts", "count": 1250})) for n in range(8)
        ]
        assert all(isinstance(future.result(WAIT), Completed) for future in futures)
    by_task: dict[object, list[int]] = {}
    for task_id, _, _, message in catcher.told:
        by_task.setdefault(task_id, []).append(int(str(message)))
    assert by_task == {f"t{n}": list(range(1250)) for n in range(8)}


def test_a_large_record_arrives_cut(kind: str, catcher: Catcher) -> None:
    with pool(kind) as executor:
        run(executor, "t", "says_much_at_once")
    ((_, _, _, message),) = catcher.told
    assert str(message).startswith("begin" + "x" * 10_000)
    assert len(str(message)) < 100_000


def test_a_slow_handler_holds_up_only_who_logs(kind: str, catcher: Catcher, tmp_path: Path) -> None:
    catcher.go_on.clear()
    begun = tmp_path / "begun"
    try:
        with pool(kind) as executor:
            data = {"do": "counts", "count": 3000, "begun": str(begun)}
            logging_task = executor.submit(Task("logs", data))
            eventually(begun.exists, WAIT, what="the task")
            for n in range(4):
                assert isinstance(run(executor, f"silent{n}", "counts", count=0), Completed)
            assert not logging_task.done()
            catcher.go_on.set()
            assert isinstance(logging_task.result(WAIT), Completed)
    finally:
        catcher.go_on.set()
    assert [message for *_, message in catcher.told] == [str(n) for n in range(3000)]


def test_the_shutdown_waits_until_every_record_is_handled(kind: str, catcher: Catcher) -> None:
    def go_on_without_the_pool() -> None:
        eventually(lambda: "cloud_tasks-pool" not in thread_names(), WAIT, what="the pool's end")
        catcher.go_on.set()

    catcher.go_on.clear()
    later = threading.Thread(target=go_on_without_the_pool)
    with pool(kind) as executor:
        run(executor, "t", "counts", count=50)
        later.start()
    assert len(catcher.records) == 50
    later.join()


def test_a_handler_that_is_stuck_hangs_neither_the_shutdown_nor_the_exit(
    kind: str, tmp_path: Path
) -> None:
    assert "ended" in pool_programs.run(tmp_path, _STUCK, kind)


_STUCK = """
import logging, threading

class Stuck(logging.Handler):
    def emit(self, record):
        reached.set()
        threading.Event().wait()

def process(task_id, data, worker_data):
    for n in range(5000):
        logging.getLogger("of.tasks").warning("more than the channel holds")
    return False, None

if __name__ == "__main__":
    reached = threading.Event()
    logging.getLogger("of").addHandler(Stuck())
    logging.getLogger().addHandler(logging.NullHandler())
    executor = start(process, slots=2, log_level=logging.INFO, exit_grace=0.5)
    future = executor.submit(Task("t", {}))
    assert reached.wait(30)
    executor.shutdown()
    print("ended", future.result(0))
"""


def thread_names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("do", ["starts_a_thread", "forks"])
def test_threads_and_copies_of_a_task_log_as_the_task(kind: str, catcher: Catcher, do: str) -> None:
    with pool(kind) as executor:
        run(executor, "t", do)
    ((task_id, _, _, message),) = catcher.told
    assert (task_id, str(message).startswith("from a")) == ("t", True)


@pytest.mark.parametrize("do", ["takes_the_handlers_away", "configures_logging"])
def test_what_a_task_makes_of_logging_silences_no_later_one(catcher: Catcher, do: str) -> None:
    with pool("loky", slots=1) as executor:
        first = run(executor, "first", do)
        assert isinstance(first, Completed), first
        run(executor, "next", "counts")
    assert [task_id for task_id, *_ in catcher.told] == ["next"]


def test_a_pool_leaves_no_descriptor_and_no_thread(kind: str, catcher: Catcher) -> None:
    def use() -> None:
        with pool(kind) as executor:
            run(executor, "t", "counts")
        multiprocessing.active_children()  # it lets go of those that have ended

    use()  # what loky keeps for ever is there afterwards
    # Others may close and end something meanwhile: what counts is what is new.
    files, threads = descriptors(), set(threading.enumerate())
    use()
    assert len(catcher.records) == 2
    assert descriptors() - files == set()
    assert set(threading.enumerate()) - threads == set()


def descriptors() -> set[str]:
    """Return what is open: sockets and pipes have numbers that are not given again soon."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.add(str(entry.readlink()))
    return found


def test_with_task_logs_the_records_are_output_of_their_task(
    kind: str, catcher: Catcher, tmp_path: Path
) -> None:
    chatty = logging.getLogger(f"{MODULE}.chatty")
    chatty.setLevel(logging.DEBUG)
    try:
        with pool(kind, task_logs=str(tmp_path)) as executor:
            run(executor, "t", "speaks_at_levels", names=[MODULE, chatty.name])
    finally:
        chatty.setLevel(logging.NOTSET)
    assert catcher.records == []
    text = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    lines = text.decode().splitlines()
    assert sum(f"{chatty.name}: {chatty.name} at" in line for line in lines) == 3
    assert sum(f"{MODULE}: {MODULE} at" in line for line in lines) == 2


# -- programs with a configuration of their own

_OWN_CONFIGURATION = """
import logging
logging.basicConfig(format="mine %(levelname)s %(message)s", stream=sys.stdout, level="DEBUG")

def process(task_id, data, worker_data):
    logging.getLogger("a").debug("said by %d", os.getpid())
    return False, os.getpid()

if __name__ == "__main__":
    logging.getLogger().handlers[0].setFormatter(logging.Formatter("parent %(message)s"))
    executor = start(process, log_level=logging.ERROR)
    print("pid", executor.submit(Task("t", {})).result(30).result)
    executor.shutdown()
"""


def test_a_child_with_a_configuration_of_its_own_is_left_alone(kind: str, tmp_path: Path) -> None:
    printed = pool_programs.run(tmp_path, _OWN_CONFIGURATION, kind)
    pid = printed.partition("pid ")[2].split()[0]
    assert f"mine DEBUG said by {pid}" in printed
    assert "parent said by" not in printed


_NO_HANDLER = """
import logging

def process(task_id, data, worker_data):
    logging.getLogger("a").info("info")
    logging.getLogger("a").debug("debug")
    return False, None

if __name__ == "__main__":
    executor = start(process, log_level=eval(sys.argv[2]))
    executor.submit(Task("t", {})).result(30)
    executor.shutdown()
"""


def test_without_a_handler_here_a_child_writes_to_stderr_from_the_given_level(
    kind: str, tmp_path: Path
) -> None:
    printed = pool_programs.run(tmp_path, _NO_HANDLER, kind, "logging.INFO")
    assert "INFO a: info" in printed
    assert "debug" not in printed


def test_without_a_level_children_are_left_alone(kind: str, tmp_path: Path) -> None:
    assert pool_programs.run(tmp_path, _NO_HANDLER, kind, "None") == ""


_WORKER = """
import logging
from cloud_tasks.worker import Worker

def process(task_id, data, worker_data):
    logging.getLogger(__name__).warning("by %s", logging.getLogger(__name__).name)
    logging.getLogger("boto3").info("of an SDK")
    return False, None

if __name__ == "__main__":
    logging.getLogger("quiet").setLevel(logging.ERROR)
    Worker(
        process, task_source=lambda: [{"task_id": "t\\n1", "data": {}}], executor=sys.argv[1],
        args=["--event-log-file", sys.argv[2]],
    ).main()
"""


@pytest.mark.parametrize("executor", [*EXECUTORS, "inline"])
def test_a_workers_console_shows_which_task_speaks(executor: str, tmp_path: Path) -> None:
    printed = pool_programs.run(tmp_path, _WORKER, executor, str(tmp_path / "events.log"))
    assert r"WARNING __main__ [t\n1]: by __" in printed
    assert "of an SDK" not in printed
