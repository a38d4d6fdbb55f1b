from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration.jobs import Site, additions, task

from cloud_tasks import EventLogError, SourceError, TaskFormatError
from cloud_tasks.summary import StopReason
from cloud_tasks.testing import eventually


def endless() -> Iterator[dict[str, Any]]:
    return (task(f"t{n}", a=n) for n in itertools.count())


@pytest.mark.parametrize("executor", ["inline", "loky"])
def test_an_endless_generator_ends_at_the_limit(site: Site, executor: str) -> None:
    summary = site.worker(endless, "--max-num-tasks", "7", executor=executor).run()
    assert summary.completed == 7
    assert summary.stop_reason is StopReason.MAX_NUM_TASKS
    assert summary.exit_code == 0
    assert site.ids() == [f"t{n}" for n in range(7)]


def test_the_first_tasks_can_be_skipped(site: Site) -> None:
    summary = site.worker(endless, "--max-num-tasks", "3", "--tasks-to-skip", "5").run()
    assert (summary.completed, summary.skipped) == (3, 5)
    assert site.ids() == ["t5", "t6", "t7"]


def test_skipping_all_there_is_leaves_nothing_to_do(site: Site) -> None:
    summary = site.worker(additions(3), "--tasks-to-skip", "10").run()
    assert (summary.ended, summary.skipped, summary.exit_code) == (0, 3, 0)


def test_the_source_is_called_at_the_start_and_not_before(site: Site) -> None:
    tasks: list[dict[str, Any]] = []
    worker = site.worker(tasks)
    tasks += additions(2)
    assert worker.run().completed == 2


def test_what_a_generator_gave_before_it_raised_has_run(site: Site) -> None:
    def breaks() -> Iterator[dict[str, Any]]:
        yield from additions(3)
        raise OSError("the catalogue is gone")

    for executor in ("inline", "loky"):
        with pytest.raises(SourceError, match="the catalogue is gone") as caught:
            site.worker(breaks, executor=executor).run()
        assert caught.value.summary is not None
        assert (caught.value.summary.completed, caught.value.summary.exit_code) == (3, 4)
        assert site.types() == ["task_completed"] * 3 + ["fatal_exception"]
        assert "the catalogue is gone" in site.events()[-1]["stack_trace"]
        site.log.unlink()


@pytest.mark.parametrize(
    ("content", "ran"),
    [
        (None, 0),
        ("", 0),
        ("{}", 0),
        ('"text"', 0),
        ('[{"task_id": "t0", "data": {"a": 1}}, {"task_id": "t1", "da', 1),
        ('[{"task_id": "t0", "data": {"a": 1}}, {"task_id": "t1", "data": {"a": NaN}}]', 1),
    ],
    ids=["missing", "empty", "mapping", "string", "cut", "NaN"],
)
def test_a_task_file_that_is_no_good_is_an_error_after_what_could_run(
    site: Site, content: str | None, ran: int
) -> None:
    name = site.path("tasks.json") if content is None else site.file(content)
    with pytest.raises(SourceError, match=r"tasks\.json|entry 2") as caught:
        site.worker(name).run()
    assert caught.value.summary is not None
    assert caught.value.summary.completed == ran
    assert site.types().count("task_completed") == ran
    assert len(site.events()) == ran + 1


def test_bad_entries_hurt_no_neighbour_and_raise_at_the_end(site: Site) -> None:
    entries = [
        task("t0", a=1),
        {"task_id": "no data"},
        None,
        {"task_id": "", "data": {}},
        {"task_id": 17, "data": {"a": 2}},
        {"task_id": "list", "data": []},
    ]
    with pytest.raises(TaskFormatError, match="4 entries") as caught:
        site.worker(site.file(entries)).run()
    assert caught.value.summary is not None
    assert (caught.value.summary.completed, caught.value.summary.bad_entries) == (2, 4)
    assert [e["task_id"] for e in site.events() if "task_id" in e] == ["t0", "17"]
    told = [e["exception"] for e in site.events() if e["event_type"] == "non_fatal_exception"]
    assert len(told) == 4
    assert "entry 2" in told[0]
    assert "no data" in told[0]
    assert "list" in told[3]


def test_an_event_log_that_can_not_be_written_stops_before_the_first_task(site: Site) -> None:
    called: list[bool] = []
    for log in (site.folder, Path("/no/such/folder/events.log")):
        worker = site.worker(lambda: called.append(True), "--event-log-file", str(log))
        with pytest.raises(EventLogError, match="--event-log-file") as caught:
            worker.run()
        assert caught.value.summary is not None
    assert not called


def test_without_an_event_log_none_is_made(site: Site) -> None:
    assert site.worker(additions(2), "--no-event-log-to-file").run().completed == 2
    assert not site.log.exists()
    assert list(site.folder.iterdir()) == []


def test_an_event_log_that_is_removed_while_it_runs_begins_anew(site: Site) -> None:
    def removes() -> Iterator[dict[str, Any]]:
        yield task("before", a=1)
        site.log.unlink()
        yield task("after", a=1)

    assert site.worker(removes).run().completed == 2
    assert site.ids() == ["after"]


def test_an_event_is_there_before_the_source_is_asked_for_more(site: Site) -> None:
    found: list[list[str]] = []

    def looks() -> Iterator[dict[str, Any]]:
        for name in "abc":
            found.append(site.ids())
            yield task(name)

    site.worker(looks).run()
    assert found == [[], ["a"], ["a", "b"]]


@pytest.mark.parametrize("where", ["call", "next"])
def test_a_source_that_blocks_for_ever_does_not_keep_a_stop_waiting(site: Site, where: str) -> None:
    release, blocked = threading.Event(), threading.Event()

    def block() -> Iterator[dict[str, Any]]:
        blocked.set()
        release.wait(60)
        return iter(())

    def blocks() -> Iterator[dict[str, Any]]:
        yield task("t0", a=1)
        yield from block()

    def stop() -> None:
        blocked.wait(30)
        eventually(lambda: where == "call" or site.ids(), 30)
        worker.stop("test")

    worker = site.worker(blocks if where == "next" else block, executor="loky")
    stopper = threading.Thread(target=stop)
    stopper.start()
    summary = worker.run()
    stopper.join()
    release.set()
    assert summary.stop_reason is StopReason.REQUESTED
    assert site.ids() == (["t0"] if where == "next" else [])
