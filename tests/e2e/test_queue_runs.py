"""Workers on a queue: every task is done once, told of, and gone from the queue."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.queue_site import WAIT, QueueSite, Sqs

from cloud_tasks.testing import eventually

#: Several programs, one after the other, and each of them starts anew.
pytestmark = pytest.mark.timeout(600)

#: Of every event of a task that completed on a queue.
KEYS = {
    *("timestamp", "hostname", "event_type", "task_id", "elapsed_time", "retry", "result"),
    *("event_id", "slot", "attempt", "started", "run_time", "cpu_time"),
    "data_digest",
}
IDLE = ("--exit-when-idle", "1")


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, moto_url: str, aws_env: object
) -> Iterator[QueueSite]:
    site = QueueSite(tmp_path, Sqs(moto_url, exactly_once=getattr(request, "param", False)))
    yield site
    site.close()


@pytest.mark.parametrize("site", [False, True], ids=["standard", "fifo"], indirect=True)
def test_every_task_is_done_acknowledged_and_told_of_once(site: QueueSite) -> None:
    ids = site.load(*({"result": {"n": n}} for n in range(25)))
    worker = site.start(*IDLE, "--num-simultaneous-tasks", "2", "--event-log-to-file")
    assert worker.end() == 0, worker.said()
    assert site.depth() == (0, 0)
    done = site.events("task_completed")
    assert site.endings() == Counter((task_id, "task_completed") for task_id in ids)
    assert {frozenset(event) - {"max_rss_mb"} for event in done} == {frozenset(KEYS)}
    assert [list(event)[:3] for event in done] == [["timestamp", "hostname", "event_type"]] * 25
    assert {event["task_id"]: event["result"]["n"] for event in done} == {
        task_id: n for n, task_id in enumerate(ids)
    }
    assert {(event["attempt"], event["retry"]) for event in done} == {(1, False)}
    in_file = [event for event in worker.events() if "task_id" in event]
    by_id = sorted(done, key=lambda event: str(event["event_id"]))
    assert sorted(in_file, key=lambda event: str(event["event_id"])) == by_id
    [warning] = worker.warnings()
    assert "--exit-when-idle 1 is shorter than the lease of 120 s" in warning


def test_no_more_than_the_wanted_number_is_run_and_the_rest_is_visible_at_once(
    site: QueueSite,
) -> None:
    ids = site.load(*[{}] * 20)
    worker = site.start("--max-num-tasks", "7", "--num-simultaneous-tasks", "2")
    assert worker.end() == 0
    assert site.depth() == (13, 0)
    assert len(site.events("task_completed")) == 7
    done = {event["task_id"] for event in site.events("task_completed")}
    assert set(site.visible(13)) == set(ids) - done
    assert set(site.runs().values()) == {1}


@pytest.mark.slow  # real leases of SQS: whole seconds
def test_skipped_tasks_are_hidden_while_it_runs_and_visible_afterwards(site: QueueSite) -> None:
    site.load(*[{}] * 8)
    worker = site.start("--tasks-to-skip", "3", "--num-simultaneous-tasks", "2", "--lease", "8")
    site.until_events(5, "task_completed")
    worker.lives_for(9)  # longer than their lease
    assert site.depth() == (0, 3)
    assert sum(site.runs().values()) == 5
    worker.signal(signal.SIGTERM)
    assert worker.end() == 143
    assert site.depth() == (3, 0)
    left = site.visible(3)
    assert len(left) == 3
    assert not set(left) & set(site.runs())


def test_skipping_ends_when_idle_and_gives_back_what_it_skipped(site: QueueSite) -> None:
    site.load(*[{}] * 5)
    worker = site.start("--tasks-to-skip", "3", *IDLE)
    assert worker.end() == 0
    assert site.depth() == (3, 0)
    assert len(site.events("task_completed")) == 2


def test_a_queue_with_nothing_in_it_is_an_idle_one(site: QueueSite) -> None:
    worker = site.start(*IDLE)
    assert worker.end() == 0
    assert site.events() == site.events("keep_alive", "worker_started", "worker_stopped")


@pytest.mark.slow  # real leases of SQS: whole seconds
def test_a_task_of_some_leases_runs_once_while_another_worker_waits_for_it(
    site: QueueSite,
) -> None:
    # A worker that stands still loses a lease of two seconds within one of them.
    lease = ("--lease", "8")
    site.load({"seconds": 18})
    first, second = site.start(*lease), site.start(*lease)
    site.until_events(2, "keep_alive")  # only now does each of them hear signals
    site.until_events(1, "task_completed")
    eventually(lambda: site.depth() == (0, 0), WAIT, what="it is acknowledged")
    for worker in (first, second):
        worker.signal(signal.SIGTERM)
    assert {first.end(), second.end()} == {143}
    [event] = site.events("task_completed")
    assert event["attempt"] == 1
    assert "lease_lost" not in event
    assert sum(site.runs().values()) == 1
    assert site.depth() == (0, 0)


def test_two_workers_share_a_queue_and_run_each_task_once(site: QueueSite) -> None:
    # Each holds no more than it can run until it knows how long tasks take: so none gets them all,
    # and none is idle before the other one has started.
    site.touch("hold")
    ids = site.load(*[{"seconds": 0.05}] * 40)
    workers = [
        site.start("--exit-when-idle", "2", "--num-simultaneous-tasks", "2") for _ in range(2)
    ]
    for worker in workers:
        site.until_noted("held", 2, worker)
    site.touch("release")
    assert [worker.end() for worker in workers] == [0, 0]
    assert site.runs() == Counter(ids)
    assert site.endings() == Counter((task_id, "task_completed") for task_id in ids)
    assert site.depth() == (0, 0)


def test_what_is_delivered_again_while_it_runs_is_run_once(site: QueueSite) -> None:
    site.load({"held": True})
    # SQS lets who had a message once make it visible, also when it is with somebody else.
    [stale] = site.queue().receive(1, wait=1, lease=1)
    eventually(lambda: site.depth() == (1, 0), WAIT, what="it is visible again")
    worker = site.start("--num-simultaneous-tasks", "2")
    site.until_noted("began")
    for _ in range(2):
        assert not site.queue().release([stale])
        eventually(lambda: site.depth() == (0, 1), WAIT, what="it is with the worker again")
    site.touch("release")
    [event] = site.until_events(1, "task_completed")
    eventually(lambda: site.depth() == (0, 0), WAIT, what="it is acknowledged")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 143
    assert "lease_lost" not in event
    assert len(site.events("task_completed")) == len(site.notes("began")) == 1


def test_the_first_retry_comes_at_once(site: QueueSite) -> None:
    site.load({"raises": True})
    # Who ends after the first try leaves it as it was given back.
    assert site.start("--retry-on-exception", "--max-num-tasks", "1").end() == 0
    assert site.depth() == (1, 0)


@pytest.mark.slow  # pauses between tries are whole seconds
def test_a_failure_is_tried_again_then_later_then_given_up(site: QueueSite) -> None:
    [task_id] = site.load({"raises": True})
    worker = site.start("--retry-on-exception", "--max-attempts", "3")
    site.until_events(1, "task_dead")
    eventually(lambda: site.depth() == (0, 0), WAIT, what="it is moved away")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 143
    tries = site.events("task_exception")
    assert [(e["attempt"], e["retry"]) for e in tries] == [(1, True), (2, True), (3, False)]
    assert "ValueError: as told" in tries[0]["exception"]
    _, second, third = [note["at"] for note in site.notes("began")]
    assert third - second >= 2
    [dead] = site.events("task_dead")
    assert (dead["task_id"], dead["attempts"]) == (task_id, 3)
    assert "ValueError" in dead["reason"]
    [body] = site.dead()
    assert task_id.encode() in body


@pytest.mark.slow  # pauses between tries are whole seconds
def test_each_way_to_fail_is_tried_again_where_that_is_wanted(site: QueueSite) -> None:
    wanted = ("--retry-on-exit", "--retry-on-timeout", "--retry-on-exception")
    args = (*wanted, "--max-attempts", "2", "--num-simultaneous-tasks", "3", *IDLE)
    ids = site.load({"exits": True}, {"raises": True})
    assert site.start(*args).end() == 1
    # By itself: another task may take as long, where the machine stands still.
    ids += site.load({"seconds": 30})
    assert site.start(*args, "--max-runtime", "1").end() == 1
    kinds = ("task_exited", "task_exception", "task_timed_out")
    assert site.endings() == Counter(
        dict.fromkeys(zip(ids, kinds, strict=True), 2) | {(i, "task_dead"): 1 for i in ids}
    )
    assert len(site.dead()) == 3
    assert site.depth() == (0, 0)


@pytest.mark.slow  # a real time limit, and a wait whether it comes again
def test_a_failure_that_is_not_to_be_tried_again_is_acknowledged(site: QueueSite) -> None:
    args = ("--num-simultaneous-tasks", "2", *IDLE)
    ids = site.load({"raises": True}, {"exits": True}, {})
    assert site.start(*args).end() == 1
    ids += site.load({"seconds": 30})  # by itself, as above
    assert site.start(*args, "--max-runtime", "4").end() == 1
    assert site.runs() == Counter(ids)
    assert [e["retry"] for e in site.events() if "task_id" in e] == [False] * 4
    assert site.depth() == (0, 0)
    assert site.dead() == []


def test_a_task_may_ask_for_another_try(site: QueueSite) -> None:
    [task_id] = site.load({"runs": 2})
    worker = site.start(*IDLE)
    assert worker.end() == 0
    tries = site.events("task_completed")
    assert [(e["attempt"], e["retry"]) for e in tries] == [(1, True), (2, False)]
    assert site.runs() == Counter({task_id: 2})
    assert site.depth() == (0, 0)


def test_tasks_that_may_run_for_more_than_12_hours_are_refused_at_the_start(
    site: QueueSite,
) -> None:
    worker = site.start("--max-runtime", str(12 * 3600 + 1))
    assert worker.end() == 2
    said = worker.said()
    for words in ("--max-runtime", "RMS_CLOUD_TASKS_MAX_RUNTIME", "--provider GCP", "--task-file"):
        assert words in said
