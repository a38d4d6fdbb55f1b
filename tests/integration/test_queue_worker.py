"""Whole workers on queues in memory: what becomes of tasks, events and threads at every end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from integration import memory_cloud
from integration.jobs import perform, task

from cloud_tasks import registry
from cloud_tasks.clock import Clock
from cloud_tasks.errors import (
    CloudTasksError,
    EventLogError,
    QueueMissingError,
    QueueRefusedError,
    QueueUnavailableError,
    TaskFormatError,
)
from cloud_tasks.executors.inline import InlineExecutor
from cloud_tasks.queues.base import Outgoing, QueueSpec
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.testing import eventually
from cloud_tasks.testing.fake_queue import FakeProvider, FakeServer, Stored
from cloud_tasks.worker import Worker

_OF_WORKERS = ("keep_alive", "worker_started", "worker_stopped")

IDLE = "--exit-when-idle=0.3"
NAMES = ("jobs", "jobs-dead", "jobs-events")


class Site:
    """A job of that provider, and a folder for an event log."""

    def __init__(self, folder: Path, server: FakeServer) -> None:
        self.folder = folder
        self.server = server
        self.provider = FakeProvider(server)
        for name in NAMES:
            self.provider.admin(name).create(QueueSpec())

    @property
    def jobs(self) -> Stored:
        return self.server.stored("jobs")

    def send(self, *bodies: str) -> None:
        letters = [Outgoing(body.encode(), f"k{n}") for n, body in enumerate(bodies)]
        assert self.provider.queue("jobs").send(letters) == []

    def load(self, *tasks: dict[str, Any]) -> None:
        self.send(*map(json.dumps, tasks))

    def worker(
        self, *args: str, executor: Any = "inline", function: Callable[..., Any] = perform
    ) -> Worker:
        flags = ["--provider", "memory", "--job-id", "jobs", *args]
        return Worker(function, args=flags, executor=executor)

    def events(self) -> list[dict[str, Any]]:
        """Return what is in the event queue but signs of life, begin and end of workers."""
        copies = self.server.stored("jobs-events").copies
        events = [json.loads(copy.body) for copy in list(copies)]
        return [event for event in events if event["event_type"] not in _OF_WORKERS]

    def types(self) -> list[str]:
        return [event["event_type"] for event in self.events()]

    def split(self) -> tuple[int, int]:
        """Return how many tasks are visible, and how many are with a worker."""
        return self.jobs.split()

    def flag(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    info = tmp_path / "memory_cloud-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: memory-cloud\nVersion: 1.0\n")
    entry = "memory = integration.memory_cloud:Provider"
    (info / "entry_points.txt").write_text(f"[{registry.GROUPS['queue']}]\n{entry}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(memory_cloud, "server", FakeServer())
    before = set(threading.enumerate())
    yield Site(tmp_path, memory_cloud.server)
    eventually(lambda: not threads_since(before), 15, what=f"left: {threads_since(before)}")


@pytest.fixture
def time_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a worker that was stopped, or failed, all the time it needs to tell the queues so.

    Else it is seconds, for which a machine may put aside the thread that does it.
    """
    monkeypatch.setattr("cloud_tasks.runtime.lifecycle.CLOSE_TIMEOUTS_STOPPED", (20.0, 20.0))
    monkeypatch.setattr("cloud_tasks.runtime.lifecycle.CLOSE_TIMEOUTS_KILLED", (20.0, 20.0))
    monkeypatch.setattr("cloud_tasks.sources.cloud_queue.source.CLOSE_TIMEOUT_NOW", 20.0)


def threads_since(before: set[threading.Thread]) -> list[str]:
    names = [thread.name for thread in threading.enumerate() if thread not in before]
    return [name for name in names if name.startswith("cloud_tasks")]


def additions(count: int) -> list[dict[str, Any]]:
    return [task(f"t{n}", a=n, b=1) for n in range(count)]


def hold(site: Site) -> dict[str, Any]:
    return task("held", do="hold", started=str(site.flag("started")))


def failure(worker: Worker) -> CloudTasksError:
    """Return what the run raised; its exit code must be that of the worker's own trouble."""
    with pytest.raises(CloudTasksError) as caught:
        worker.run()
    assert caught.value.summary is not None
    assert caught.value.summary.exit_code == 4
    return caught.value


def in_background(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


# -- an ordinary end


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_everything_is_done_once_and_told(site: Site, executor: str) -> None:
    site.load(*additions(25))
    summary = site.worker(IDLE, executor=executor).run()
    assert (summary.completed, summary.exit_code) == (25, 0)
    assert sorted(event["task_id"] for event in site.events()) == sorted(f"t{n}" for n in range(25))
    assert len(site.jobs.copies) == 0


def test_a_pool_of_somebody_else_does_it_as_well(site: Site) -> None:
    site.load(*additions(25))
    with ThreadPoolExecutor(2) as pool:
        summary = site.worker(IDLE, "--num-simultaneous-tasks=2", executor=pool).run()
    assert (summary.completed, summary.exit_code) == (25, 0)
    assert (len(site.events()), len(site.jobs.copies)) == (25, 0)


@pytest.mark.usefixtures("time_to_tell")
def test_a_task_that_is_over_before_anybody_listens_is_told_of_at_once(site: Site) -> None:
    site.load(task("only"))
    with ThreadPoolExecutor(1) as pool:
        worker = site.worker(executor=pool, function=lambda task_id, data, worker_data: (False, 1))
        running = in_background(worker.run)
        eventually(lambda: not site.jobs.copies)
        worker.stop()
        running.join(20)
    assert site.types() == ["task_completed"]


def test_two_workers_one_after_the_other_work(site: Site) -> None:
    for count in (3, 4):
        site.load(*additions(count))
        assert site.worker(IDLE).run().completed == count
    assert len(site.events()) == 7


def test_what_is_skipped_or_over_the_limit_is_visible_again(site: Site) -> None:
    site.load(*additions(9))
    summary = site.worker("--tasks-to-skip=2", "--max-num-tasks=3").run()
    assert (summary.completed, summary.skipped, summary.exit_code) == (3, 2, 0)
    assert summary.stop_reason is StopReason.MAX_NUM_TASKS
    assert site.split() == (6, 0)


def test_what_is_no_task_is_not_one_of_those_skipped_or_wanted(site: Site) -> None:
    good = [json.dumps(item) for item in additions(6)]
    site.send("bad", good[0], "bad", good[1], "bad", *good[2:], "bad")
    worker = site.worker("--tasks-to-skip=1", "--max-num-tasks=4")
    with pytest.raises(TaskFormatError, match="no tasks") as caught:
        worker.run()
    summary = caught.value.summary
    assert summary is not None
    assert (summary.completed, summary.skipped) == (4, 1)
    assert site.types().count("task_completed") == 4
    bad = summary.bad_entries
    assert len(site.server.stored("jobs-dead").copies) == bad >= 3
    assert site.split() == (10 - 4 - bad, 0)


def test_a_retry_that_is_still_to_come_keeps_a_worker_from_being_idle(site: Site) -> None:
    site.load(task("again", do="retry"))
    summary = site.worker(IDLE, "--max-attempts=3").run()
    assert summary.exit_code == 1
    assert site.types() == ["task_completed"] * 3 + ["task_dead"]
    assert len(site.jobs.copies) == 0


def test_until_done_it_stays_while_another_one_holds_a_task(site: Site) -> None:
    site.load(task("far"), task("near"))
    elsewhere = site.provider.queue("jobs")
    [held] = elsewhere.receive(1, wait=0, lease=600)
    looks: list[str] = []
    site.server.trouble = lambda name, operation: looks.append(operation)
    results: list[RunSummary] = []
    worker = site.worker("--exit-when-done", "--lease=1")
    running = in_background(lambda: results.append(worker.run()))
    # At its start, and then while it waits for the other one.
    eventually(lambda: looks.count("backlog") >= 4, 20, what="it counts again and again")
    assert running.is_alive()
    elsewhere.release([held], delay=1.5)
    running.join(30)
    assert not running.is_alive()
    assert (results[0].completed, results[0].exit_code) == (2, 0)
    assert results[0].stop_reason is StopReason.DONE
    assert len(site.jobs.copies) == 0


def test_until_done_a_task_that_failed_counts_as_done(site: Site) -> None:
    site.load(task("again", do="retry"))
    summary = site.worker("--exit-when-done", "--max-attempts=3").run()
    assert summary.exit_code == 1
    assert site.types() == ["task_completed"] * 3 + ["task_dead"]
    assert site.worker("--exit-when-done").run().exit_code == 0


# -- a stop


@pytest.mark.usefixtures("time_to_tell")
def test_cancelling_the_start_gives_everything_back(site: Site) -> None:
    site.load(hold(site), *additions(3))

    async def program() -> None:
        running = asyncio.create_task(site.worker(executor="loky").start())
        while not site.flag("started").exists():
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(program())
    assert site.types() == ["task_aborted"]
    assert site.split() == (4, 0)


def send_when(condition: Callable[[], object], *numbers: int) -> threading.Thread:
    """Send this process signals when *condition* holds."""

    def work() -> None:
        eventually(condition, 20)
        for number in numbers:
            os.kill(os.getpid(), number)

    return in_background(work)


@pytest.fixture
def late_signals_are_harmless() -> Iterator[None]:
    """Let a signal that comes when the run is over, and hears none any more, do nothing."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("late_signals_are_harmless")
@pytest.mark.parametrize("executor", ["inline", "loky"])
@pytest.mark.parametrize("signals", [1, 2, 20])
def test_signals_end_a_worker_that_waits_for_tasks(site: Site, executor: str, signals: int) -> None:
    polled = threading.Event()
    site.server.trouble = lambda name, operation: polled.set() if operation == "receive" else None
    sender = send_when(polled.is_set, *[signal.SIGINT] * signals)
    assert site.worker(executor=executor).run().exit_code == 130
    sender.join()


@pytest.mark.usefixtures("time_to_tell")
def test_inline_the_first_signal_drains_and_the_second_aborts(site: Site) -> None:
    site.load(hold(site), *additions(3))

    def twice() -> None:
        eventually(site.flag("started").exists, 20)
        os.kill(os.getpid(), signal.SIGINT)
        eventually(site.flag("asked").exists, 20)
        os.kill(os.getpid(), signal.SIGINT)

    sender = in_background(twice)
    summary = site.worker("--lease=30").run()
    sender.join()
    assert (summary.aborted, summary.exit_code) == (1, 130)
    assert site.types() == ["task_aborted"]
    assert site.split() == (4, 0)


class Looks(Clock):
    """Lets leases pass by the looks of the thread that extends them.

    So none ends only because that thread, or the whole process, was put aside for a while.
    """

    def __init__(self) -> None:
        self.now = 100.0

    def boot(self) -> float:
        if threading.current_thread().name == "cloud_tasks-leases":
            self.now += 0.2
        return self.now


class Follower(Clock):
    """The server's clock, by which leases end there: it has the same time."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    def monotonic(self) -> float:
        return self._looks.now


def test_inline_a_lease_is_kept_while_the_task_has_the_main_thread(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks()
    monkeypatch.setattr("cloud_tasks.worker.build.Clock", lambda: looks)
    site.server.clock = Follower(looks)
    site.load(hold(site))

    asked: list[str] = []
    site.server.trouble = lambda name, operation: asked.append(operation)

    def later() -> None:
        eventually(lambda: asked.count("extend") >= 3, 20)
        site.flag("release").touch()

    ending = in_background(later)
    summary = site.worker("--lease=1", "--max-num-tasks=1").run()
    ending.join()
    assert looks.now - 100 > 1
    assert (summary.completed, len(site.jobs.copies)) == (1, 0)
    assert "lease_lost" not in site.events()[0]
    assert site.events()[0]["attempt"] == 1


def test_the_second_signal_waits_for_no_request(site: Site) -> None:
    polled, answer = threading.Event(), threading.Event()

    def stall(name: str, operation: str) -> None:
        if operation == "receive":
            polled.set()
            answer.wait(50)

    site.server.trouble = stall
    results: list[RunSummary] = []
    worker = site.worker(executor="loky")
    running = in_background(lambda: results.append(worker.run()))
    assert polled.wait(20)
    worker.stop()
    worker.stop()
    running.join(30)
    ended = not running.is_alive()
    answer.set()
    assert ended, "it waited for the answer"
    assert results[0].stop_reason is StopReason.REQUESTED


# -- trouble


@pytest.mark.usefixtures("time_to_tell")
def test_why_a_missing_queue_ended_it_is_told_to_the_event_queue(site: Site) -> None:
    del site.server.queues["jobs"]
    assert isinstance(failure(site.worker()), QueueMissingError)
    assert site.types() == ["fatal_exception"]
    assert "jobs" in site.events()[0]["exception"]


@pytest.mark.usefixtures("time_to_tell")
def test_without_its_event_queue_nothing_runs(site: Site) -> None:
    site.load(*additions(2))
    del site.server.queues["jobs-events"]
    error = failure(site.worker())
    assert isinstance(error, EventLogError)
    assert "jobs-events" in str(error)
    assert site.split() == (2, 0)


@pytest.mark.usefixtures("time_to_tell")
def test_an_event_queue_that_refuses_the_last_events_is_the_workers_failure(site: Site) -> None:
    site.load(*additions(3))
    log = site.flag("events.log")

    def refuse(name: str, operation: str) -> QueueRefusedError | None:
        if (name, operation) != ("jobs-events", "send"):
            return None
        eventually(lambda: log.read_bytes().count(b"task_completed") == 3)
        return QueueRefusedError("forbidden")

    site.server.trouble = refuse
    error = failure(site.worker("--max-num-tasks=3", "--event-log-to-file"))
    assert "forbidden" in str(error)
    assert site.split() == (3, 0)
    types = [json.loads(line)["event_type"] for line in log.read_text().splitlines()]
    assert types == [
        *("worker_started", *["task_completed"] * 3, "worker_stopped"),
        *("fatal_exception", "worker_stopped"),
    ]


@pytest.mark.usefixtures("time_to_tell")
def test_a_queue_that_breaks_in_mid_run_is_told_of_after_what_it_gave_was_done(site: Site) -> None:
    site.load(*additions(3))
    refused = QueueRefusedError("the right was taken away")

    def refuse(name: str, operation: str) -> QueueRefusedError | None:
        return refused if operation == "receive" and site.types().count("task_completed") else None

    site.server.trouble = refuse
    error = failure(site.worker())
    assert "taken away" in str(error)
    assert site.types()[-1] == "fatal_exception"
    done = site.types().count("task_completed")
    assert site.split() == (3 - done, 0)


class Refusing(InlineExecutor):
    """Takes one task, and then none."""

    used = False

    def submit(self, *args: Any, **keywords: Any) -> Any:
        if self.used:
            raise OSError("no more processes")
        self.used = True
        return super().submit(*args, **keywords)


@pytest.mark.usefixtures("time_to_tell")
def test_an_executor_that_takes_no_task_costs_no_task(site: Site) -> None:
    site.load(*additions(4))
    error = failure(site.worker(executor=Refusing()))
    assert "no more processes" in str(error)
    assert site.types() == ["task_completed", "fatal_exception"]
    assert site.split() == (3, 0)


def test_an_outage_of_everything_costs_nothing_but_time(site: Site) -> None:
    site.load(*additions(40))
    away = QueueUnavailableError("away")
    counted: list[str] = []

    def trouble(name: str, operation: str) -> QueueUnavailableError | None:
        counted.append(operation)
        return away if len(counted) % 3 == 0 else None

    site.server.trouble = trouble
    summary = site.worker(IDLE, executor="loky").run()
    assert (summary.completed, summary.exit_code) == (40, 0)
    assert len({event["event_id"] for event in site.events()}) == 40
    assert len(site.jobs.copies) == 0
