"""Workers on Pub/Sub: what holds on SQS holds here as well, and what is different here."""

from __future__ import annotations

import datetime
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e import test_queue_faults as faults
from e2e import test_queue_runs as runs
from e2e.queue_pubsub import PubSub, own_emulator
from e2e.queue_site import OWN_LEASE, WAIT, QueueSite, QueueWorker
from servers.pubsub import PubSubEmulator

from cloud_tasks.queues.base import QueueSpec
from cloud_tasks.testing import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: The shortest lease of Pub/Sub.
SHORT = ("--lease", "10")
TWO_SLOTS = faults.TWO_SLOTS


@pytest.fixture
def cloud(pubsub_emulator: PubSubEmulator) -> PubSub:
    return PubSub(pubsub_emulator.address, pubsub_emulator.new_project())


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, cloud: PubSub) -> Iterator[QueueSite]:
    cloud.exactly_once = getattr(request, "param", False)
    site = QueueSite(tmp_path, cloud)
    yield site
    site.close()


exactly_once = pytest.mark.parametrize("site", [True], ids=["exactly-once"], indirect=True)


def made_anew(site: QueueSite, spec: QueueSpec) -> None:
    """Make the queue of tasks again, as *spec* says."""
    site.delete(site.name)
    site.create(site.name, spec)


def stop(*workers: QueueWorker) -> None:
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.end() for worker in workers] == [143] * len(workers)


# -- as it is on SQS

test_every_task_is_done = runs.test_every_task_is_done_acknowledged_and_told_of_once
test_no_more_than_the_wanted_number_is_run = (
    runs.test_no_more_than_the_wanted_number_is_run_and_the_rest_is_visible_at_once
)
test_the_first_retry_comes_at_once = runs.test_the_first_retry_comes_at_once
test_a_failure_is_tried_again_then_given_up = (
    runs.test_a_failure_is_tried_again_then_later_then_given_up
)
test_the_second_signal_gives_back_at_once = (
    faults.test_the_second_signal_kills_what_runs_and_gives_it_back_at_once
)
test_an_outage_of_ten_seconds_costs_nothing = (
    faults.test_an_outage_of_ten_seconds_costs_no_task_and_no_event
)
test_ctrl_c_ends_it_at_once_while_no_server_is_there = (
    faults.test_ctrl_c_ends_it_at_once_while_no_server_is_there
)
test_a_missing_event_queue_is_named = (
    faults.test_a_missing_event_queue_is_named_with_the_way_to_do_without
)

# -- leases


def test_two_workers_share_a_queue_and_a_task_of_some_leases_is_run_once(site: QueueSite) -> None:
    [long] = site.load({"seconds": 25})
    workers = [site.start(*SHORT, *TWO_SLOTS) for _ in range(2)]
    site.until_noted("began")
    # Until it knows how long tasks take, none of them holds more than it can run.
    site.touch("hold")
    ids = site.load(*[{"seconds": 0.1}] * 40)
    for worker in workers:
        site.until_noted("held", worker=worker)
    site.touch("release")
    done = site.until_events(41, "task_completed")
    assert site.runs() == Counter([long, *ids])
    assert {(event["attempt"], "lease_lost" in event) for event in done} == {(1, False)}
    stop(*workers)
    assert site.depth() == (0, 0)
    assert site.endings() == Counter((task_id, "task_completed") for task_id in [long, *ids])


def test_the_tasks_of_a_killed_worker_are_done_by_another(site: QueueSite) -> None:
    faults.dies_while_another_one_works(site, *SHORT)


def test_what_is_delivered_again_while_it_runs_is_run_once(site: QueueSite, cloud: PubSub) -> None:
    [task_id] = site.load({"held": True})
    worker = site.start(*TWO_SLOTS)
    site.until_noted("held")
    # To set a subscription back ends all its leases.
    subscription = cloud.names(site.name).subscription
    before = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    fields = {"subscription": subscription, "time": before}
    cloud.request(site.name, "subscription", "seek", fields)
    eventually(lambda: site.depth() == (0, 1), WAIT, what="it is with the worker again")
    site.touch("release")
    [event] = site.until_events(1, "task_completed")
    eventually(lambda: site.depth() == (0, 0), WAIT, what="it is acknowledged")
    stop(worker)
    assert "lease_lost" not in event
    assert site.runs() == Counter([task_id])
    assert worker.warnings() == []


def test_what_a_stopped_worker_has_not_begun_is_visible_at_once(site: QueueSite) -> None:
    worker, ids = faults.holding_many(site)
    worker.signal(signal.SIGTERM)
    late = site.load(*[{}] * 5)  # they come in answer to the request that is under way
    assert worker.end() == 143
    waiting = (ids | set(late)) - set(site.runs())
    assert len(waiting) == 10 + len(late)
    assert set(site.visible(len(waiting))) == waiting
    assert {event["task_id"] for event in site.events("task_completed")} == set(site.runs())


@exactly_once
def test_a_lease_that_is_lost_is_told_of_and_not_acknowledged(site: QueueSite) -> None:
    site.load({"held": True})
    worker = site.start(*SHORT)
    site.until_noted("held")
    site.cloud.provider().admin(site.name).purge()
    eventually(worker.warnings, WAIT, what="the lease could not be extended")
    site.touch("release")
    [event] = site.until_events(1, "task_completed")
    assert event["lease_lost"] is True
    stop(worker)
    [warning] = worker.warnings()
    assert "isn't ours any more (PERMANENT_FAILURE_INVALID_ACK_ID)" in warning


@exactly_once
def test_an_acknowledgement_that_fails_is_told_of(site: QueueSite) -> None:
    site.load({"held": True})
    worker = site.start()
    site.until_noted("held")
    site.cloud.provider().admin(site.name).purge()
    site.touch("release")
    eventually(worker.warnings, WAIT, what="it could not be acknowledged")
    stop(worker)
    [warning] = worker.warnings()
    for words in ("1 of 1", "could not be acknowledged", "PERMANENT_FAILURE_INVALID_ACK_ID"):
        assert words in warning
    assert len(site.events("task_completed")) == 1


def test_where_nobody_counts_deliveries_that_is_told_and_retries_wait(site: QueueSite) -> None:
    made_anew(site, QueueSpec(lease=OWN_LEASE))
    [task_id] = site.load({"raises": True})
    worker = site.start("--retry-on-exception", "--max-attempts", "1")
    [event] = site.until_events(1, "task_exception")
    assert event["retry"] is True
    assert "attempt" not in event
    worker.lives_for(2)
    assert site.runs() == Counter([task_id])
    stop(worker)
    assert site.depth() == (0, 1)  # hidden, though nobody holds it
    [warning] = [line for line in worker.warnings() if "does not count deliveries" in line]
    assert repr(site.name) in warning
    assert "load_queue" in warning


# -- a server or a queue that goes away


def test_a_queue_that_goes_away_is_told_of_and_ctrl_c_ends_it_at_once(site: QueueSite) -> None:
    worker = site.start(limits=faults.ENDLESS)
    site.until_events(1, "keep_alive")
    site.delete(site.name)
    eventually(worker.warnings, WAIT, what="it says that the queue is missing")
    worker.signal(signal.SIGINT)
    assert worker.end() == 130
    [warning] = worker.warnings()
    for words in ("receive fails, trying again", "has no subscription", site.name):
        assert words in warning


def test_a_server_that_forgot_its_queues_is_used_again_when_they_are_made_anew(
    tmp_path: Path, pubsub_emulator: PubSubEmulator
) -> None:
    with own_emulator(tmp_path) as emulator:
        site = QueueSite(tmp_path, PubSub(emulator.address, "project-forgotten"))
        try:
            site.load({})
            worker = site.start()
            site.until_events(1, "task_completed")
            emulator.kill()
            eventually(worker.warnings, WAIT, what="it says that nobody answers")
            emulator.start()
            worker.lives_for(2)
            site.create_all()
            site.load({})
            site.until_events(2, "task_completed")
            stop(worker)
            assert site.depth() == (0, 0)
        finally:
            site.close()


# -- a wrong set-up


def test_a_missing_subscription_is_named(site: QueueSite, cloud: PubSub) -> None:
    names = cloud.names(site.name)
    fields = {"subscription": names.subscription}
    cloud.request(site.name, "subscription", "delete_subscription", fields)
    said = faults.refusal(site.start())
    for words in (f"no subscription '{site.name}-subscription'", cloud.project, "load_queue"):
        assert words in said


def test_a_missing_topic_is_named(site: QueueSite, cloud: PubSub) -> None:
    cloud.request(site.name, "topic", "delete_topic", {"topic": cloud.names(site.name).topic})
    said = faults.refusal(site.start())
    for words in (f"no topic '{site.name}-topic'", cloud.project, "load_queue"):
        assert words in said


def test_a_wrong_project_is_named(site: QueueSite) -> None:
    said = faults.refusal(site.start("--project-id", "another-project"))
    assert "'another-project'" in said
    assert "check its name and the project" in said


def test_missing_credentials_are_told_of_with_the_places_they_may_be_in(
    site: QueueSite, cloud: PubSub
) -> None:
    with socket.socket() as held:  # it never listens, and nobody else can meanwhile
        held.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{held.getsockname()[1]}"
        said = faults.refusal(
            site.start(
                PUBSUB_EMULATOR_HOST="",
                GOOGLE_APPLICATION_CREDENTIALS="",
                CLOUDSDK_CONFIG="/nowhere",
                GCE_METADATA_HOST=nobody,
                GCE_METADATA_IP=nobody,
                no_proxy="*",
            )
        )
    places = ("GOOGLE_APPLICATION_CREDENTIALS", "gcloud", "metadata server")
    for words in ("no Google credentials", site.name, cloud.project, *places):
        assert words in said


def test_a_missing_project_is_told_of(site: QueueSite) -> None:
    words = ["--provider", "GCP", "--job-id", site.name]
    worker = QueueWorker(site, "homeless", words, {})
    assert worker.end() == 2
    for part in ("--project-id", "RMS_CLOUD_TASKS_PROJECT_ID", "is needed for a queue of GCP"):
        assert part in worker.said()


# -- what is no task

BAD = {
    **faults.BAD,
    "bytes that are no text": b"\xff\xfe\x00\x01",
    "zeros": b"\x00" * 9,
    "four megabytes": b'"' + b"x" * 2**22,
}


def test_messages_that_are_no_tasks_are_put_aside_and_hurt_no_neighbour(
    site: QueueSite, cloud: PubSub
) -> None:
    ids = site.load({}, {})
    site.send(*BAD.values())
    topic = cloud.names(site.name).topic
    empty = {"topic": topic, "messages": [{"attributes": {"colour": "blue"}}]}
    cloud.request(site.name, "topic", "publish", empty)
    ids += site.load({}, {})
    worker = site.start(*runs.IDLE)
    assert worker.end() == 4
    assert sorted(site.dead()) == sorted([*BAD.values(), b""])
    assert {event["task_id"] for event in site.events("task_completed")} == set(ids)
    told = [event["exception"] for event in site.events("non_fatal_exception")]
    assert len(told) == len(BAD) + 1
    assert all(len(text) < 1000 for text in told)
    assert any("has no body, only the attributes" in text and "colour" in text for text in told)
    assert site.depth() == (0, 0)
