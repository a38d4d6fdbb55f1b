"""Workers on a queue in trouble: nothing is lost, nothing is acknowledged without its event."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from e2e.queue_site import WAIT, QueueSite, QueueWorker, Sqs
from servers.relay import Relay

from cloud_tasks.queues.base import events_name
from cloud_tasks.queues.retrying import BUDGETS
from cloud_tasks.testing import eventually
from cloud_tasks.testing.metadata_server import MetadataServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Leases and pauses here are real seconds of the queue. Eight: a worker that stands still for some
# would lose a shorter lease.
IDLE = ("--exit-when-idle", "1")
TWO_SLOTS = ("--num-simultaneous-tasks", "2")
#: In place of the few seconds that the end of a run may take after a stop, and after a second one.
#: Where the queue answers they are plenty, unless the machine stands still.
UNHURRIED = {
    "runtime.lifecycle:CLOSE_TIMEOUTS_STOPPED": [60, 60],
    "runtime.lifecycle:CLOSE_TIMEOUTS_KILLED": [60, 60],
}


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, moto_url: str, aws_env: object
) -> Iterator[QueueSite]:
    site = QueueSite(tmp_path, Sqs(moto_url, exactly_once=getattr(request, "param", False)))
    yield site
    site.close()


def holding_many(
    site: QueueSite, *args: str, server: Relay | None = None
) -> tuple[QueueWorker, set[str]]:
    """Start a worker that runs two tasks, has fetched ten others, and asks for more.

    Returns:
        It, and the ids of these twelve.
    """
    # It fetches ahead when it knows that tasks are short: these are so many that it will know
    # even if the machine stands still while one of them runs.
    short = site.load(*[{"seconds": 0.05}] * 40)
    worker = site.start(*TWO_SLOTS, *args, server=server, limits=UNHURRIED)
    site.until_noted("ended", len(short))
    ids = site.load(*[{"held": True}] * 12)
    site.until_noted("held", 2)
    eventually(lambda: site.depth() == (0, len(ids)), WAIT, what="it holds all")
    return worker, set(ids)


# -- the end of a worker


@pytest.mark.parametrize(
    ("number", "code", "executor"),
    [
        (signal.SIGTERM, 143, "loky"),
        (signal.SIGTERM, 143, "spawn"),
        (signal.SIGINT, 130, "loky"),
    ],
)
def test_what_a_stopped_worker_has_not_begun_is_visible_at_once(
    site: QueueSite, number: int, code: int, executor: str
) -> None:
    with site.relay() as relay:
        worker, ids = holding_many(site, "--executor", executor, server=relay)
        relay.stall()
        worker.signal(number)
        late = site.load(*[{}] * 5)  # they come in answer to the request that is under way
        # Tasks are told at once: nothing comes from the queue meanwhile.
        site.until_noted("asked", 2)
        relay.go_on()
        assert worker.end() == code
    waiting = (ids | set(late)) - set(site.runs())
    assert len(waiting) == 10 + len(late)
    assert site.depth() == (len(waiting), 0)
    assert set(site.visible(len(waiting))) == waiting
    ended = {event["task_id"] for event in site.events("task_completed")}
    assert ended == set(site.runs())


def test_the_second_signal_kills_what_runs_and_gives_it_back_at_once(site: QueueSite) -> None:
    [task_id] = site.load({"held": True, "obeys": False})
    worker = site.start(limits=UNHURRIED)
    site.until_noted("held")
    worker.signal(signal.SIGTERM)
    site.until_noted("asked")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 143
    assert site.visible(1) == [task_id]
    [event] = site.events("task_aborted")
    assert (event["task_id"], event["retry"]) == (task_id, True)


def test_what_is_killed_after_the_grace_period_was_held_until_then(site: QueueSite) -> None:
    [task_id] = site.load({"held": True, "obeys": False})
    worker = site.start("--lease", "8", "--shutdown-grace-period", "20")
    site.until_noted("held")
    worker.signal(signal.SIGTERM)
    site.until_noted("asked")
    worker.lives_for(9)
    assert site.depth() == (0, 1)
    assert worker.end() == 143
    assert site.depth() == (1, 0)
    assert site.visible(1) == [task_id]
    [event] = site.events("task_aborted")
    assert "lease_lost" not in event


def test_a_simulated_notice_ends_it_and_gives_everything_back(site: QueueSite) -> None:
    ids = site.load({"held": True}, {"held": True}, {"held": True})
    worker = site.start(
        *("--simulate-spot-termination-after", "10", "--simulate-spot-termination-delay", "7"),
        *TWO_SLOTS,
    )
    assert worker.end() == 75
    assert site.visible(3) == ids
    assert len(site.notes("noticed")) == 2
    assert [event["kind"] for event in site.events("spot_termination")] == ["simulated"]
    assert len(site.events("task_aborted")) == 2


def test_a_real_notice_ends_it_and_gives_everything_back(site: QueueSite) -> None:
    ids = site.load({"held": True}, {})
    with MetadataServer() as service:
        worker = site.start(
            "--is-spot",
            limits={"termination.metadata:TIMEOUT": WAIT},  # its name is asked for only once
            RMS_CLOUD_TASKS_METADATA_ENDPOINT=service.address,
        )
        site.until_noted("held")
        service.interrupt("terminate", seconds=23)  # it is heard within 5 s, and ends 5 s before
        site.until_noted("noticed")
        assert worker.end() == 75
    assert site.visible(2) == ids
    assert [event["kind"] for event in site.events("spot_termination")] == ["spot terminate"]
    [event] = site.events("task_aborted")
    assert event["task_id"] == ids[0]
    assert site.events("keep_alive")[0]["instance_id"].startswith("i-")


def test_the_tasks_of_a_killed_worker_are_done_by_another(site: QueueSite) -> None:
    dies_while_another_one_works(site, "--lease", "8")


def dies_while_another_one_works(site: QueueSite, *lease: str) -> None:
    done = site.load(*[{"seconds": 0.1}] * 10)
    killed = site.start(*lease, *TWO_SLOTS)
    site.until_noted("ended", len(done), killed)
    eventually(lambda: site.depth() == (0, 0), WAIT, what="it has acknowledged these")
    ids = site.load(*[{"seconds": 0.2}] * 60)
    site.until_noted("ended", len(done) + 5, killed)
    survivor = site.start(*TWO_SLOTS)
    # Of one that stands still for long the other one takes everything.
    eventually(
        lambda: (
            len(site.notes("ended", killed)) >= len(done) + 25
            or len(site.notes("ended")) >= len(done) + len(ids)
        ),
        WAIT,
        what="it is in the midst of its work",
    )
    killed.signal(signal.SIGKILL)
    killed.process.wait()
    begun = {note["task_id"] for note in site.notes("began", killed)}
    eventually(lambda: site.depth() == (0, 0), WAIT, what="all is acknowledged")
    site.until_events(2, "keep_alive")  # it hears signals
    survivor.signal(signal.SIGTERM)
    assert survivor.end() == 143
    assert {event["task_id"] for event in site.events("task_completed")} == {*done, *ids}
    # It ran two, and those that had ended just before were not acknowledged yet.
    again = {task_id for task_id, runs in site.runs().items() if runs > 1}
    assert again <= begun - set(done)
    assert max(site.runs().values()) <= 2


def test_a_worker_that_stood_still_knows_that_its_task_is_another_ones(site: QueueSite) -> None:
    site.load({"held": True})
    # Not so short that it may just be extended, and it takes no other task than this.
    first = site.start("--lease", "8", "--max-num-tasks", "1")
    site.until_noted("held", worker=first)
    first.signal(signal.SIGSTOP)
    second = site.start()
    site.until_noted("held", worker=second)
    first.signal(signal.SIGCONT)
    eventually(first.warnings, WAIT, what="it knows")
    site.touch(f"release-{first.name}")
    assert first.end() == 0
    [event] = site.events("task_completed")
    assert event["lease_lost"] is True
    assert len(first.warnings()) == 1
    assert site.depth() == (0, 1)  # it neither acknowledged it nor gave it back
    site.touch(f"release-{second.name}")
    site.until_events(2, "task_completed")
    eventually(lambda: site.depth() == (0, 0), WAIT, what="it is acknowledged")
    second.signal(signal.SIGTERM)
    assert second.end() == 143
    assert ["lease_lost" in event for event in site.events("task_completed")] == [True, False]
    assert "isn't ours any more" in first.warnings()[0]
    assert second.warnings() == []


# -- the network


def nothing_is_wrong_with(site: QueueSite, ids: list[str]) -> None:
    """All ran once, and all is told; what is told twice has the same event id."""
    done = site.events("task_completed")
    assert {event["task_id"] for event in done} == set(ids)
    assert len({event["event_id"] for event in done}) == len(ids)
    assert set(site.runs().values()) == {1}
    assert site.depth() == (0, 0)


def ends_when_all_are_done(worker: QueueWorker, site: QueueSite, ids: list[str]) -> None:
    """Wait for *ids*, and end *worker*.

    An answer may have been lost on its way: its tasks are hidden until their lease is over, and
    a worker that ends when it is idle would not wait for them.
    """

    def are_done() -> bool:
        done = site.events("task_completed", wait=1.0)
        return {event["task_id"] for event in done} >= set(ids)

    eventually(are_done, WAIT, what="all tasks are done")
    eventually(lambda: site.depth() == (0, 0), WAIT, what="all are acknowledged")
    worker.signal(signal.SIGTERM)
    assert worker.end() == 143


def test_an_outage_of_ten_seconds_costs_no_task_and_no_event(site: QueueSite) -> None:
    ids = site.load(*[{"seconds": 0.2}] * 40)
    with site.relay() as relay:
        worker = site.start("--lease", "30", *TWO_SLOTS, server=relay)
        site.until_events(5, "task_completed")
        relay.refuse()
        worker.lives_for(10)
        relay.go_on()
        assert relay.accepted
        ends_when_all_are_done(worker, site, ids)
    nothing_is_wrong_with(site, ids)
    # One for each operation that failed, not one for each try.
    assert 1 <= len(worker.warnings()) <= 5, worker.said()


def until_new_connections(relay: Relay, count: int) -> None:
    """Wait until a worker had to connect again so often: what it had was cut."""
    seen = relay.accepted
    eventually(lambda: relay.accepted >= seen + count, WAIT, what="new connections")


def test_answers_that_are_cut_off_cost_no_task_and_no_event(site: QueueSite) -> None:
    ids = site.load(*[{"seconds": 0.1}] * 40)
    with site.relay() as relay:
        # Long enough that no task is lost while nothing gets through.
        worker = site.start("--lease", "20", *TWO_SLOTS, server=relay)
        site.until_events(3, "task_completed")
        before = relay.accepted
        for answer_bytes in (500, 50, 350):
            relay.cut_after(answer_bytes)
            until_new_connections(relay, 2)
        relay.go_on()
        assert relay.accepted > before
        ends_when_all_are_done(worker, site, ids)
    nothing_is_wrong_with(site, ids)


def test_a_network_that_stands_still_for_a_while_costs_nothing(site: QueueSite) -> None:
    ids = site.load(*[{"seconds": 0.1}] * 40)
    with site.relay() as relay:
        worker = site.start(*TWO_SLOTS, server=relay)
        site.until_events(5, "task_completed")
        relay.stall()
        worker.lives_for(3)
        relay.go_on()
        ends_when_all_are_done(worker, site, ids)
    nothing_is_wrong_with(site, ids)
    assert len(site.events("task_completed")) == len(ids)


@pytest.mark.parametrize("break_it", [Relay.refuse, Relay.stall], ids=["refused", "stalled"])
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_a_stop_is_not_held_up_for_long_by_a_server_that_is_away(
    site: QueueSite, break_it: Callable[[Relay], None], times: int
) -> None:
    # Whoever does not get this patience ends long before it is over, however slow the machine is.
    names = ["CLOSE_TIMEOUTS", "CLOSE_TIMEOUTS_STOPPED"][:times]
    limits = {f"runtime.lifecycle:{name}": [3 * WAIT, 3 * WAIT] for name in names}
    site.load(*[{"seconds": 0.3}] * 30)
    with site.relay() as relay:
        worker = site.start("--shutdown-grace-period", "1", server=relay, limits=limits)
        site.until_noted("ended", 5)
        break_it(relay)
        worker.lives_for(1)
        worker.signal(signal.SIGTERM)
        if times == 2:
            eventually(lambda: "stopping" in worker.said(), WAIT, what="it has heard the first")
            worker.signal(signal.SIGTERM)
        assert worker.end() == 143


#: With these it would take longer than anybody here waits to end, if it did not end at once.
ENDLESS = {
    "runtime.lifecycle:CLOSE_TIMEOUTS": [3 * WAIT, 3 * WAIT],
    "runtime.lifecycle:CLOSE_TIMEOUTS_STOPPED": [3 * WAIT, 3 * WAIT],
    "sources.cloud_queue.source:CLOSE_TIMEOUT": 3 * WAIT,
    "queues.retrying:BUDGETS": dict.fromkeys(BUDGETS, 3 * WAIT),
}


def test_ctrl_c_ends_it_at_once_while_no_server_is_there(site: QueueSite) -> None:
    with site.relay() as relay:
        relay.refuse()
        worker = site.start(server=relay, limits=ENDLESS)
        eventually(worker.warnings, WAIT, what="it says that it tries again")
        worker.signal(signal.SIGINT)
        assert worker.end() == 130
    assert len(worker.warnings()) == 1


def test_a_server_that_comes_up_late_is_waited_for(site: QueueSite) -> None:
    ids = site.load({}, {}, {})
    with site.relay() as relay:
        relay.refuse()
        worker = site.start(*IDLE, server=relay)
        eventually(worker.warnings, WAIT, what="it says that it tries again")
        worker.lives_for(4)
        relay.go_on()
        assert worker.end() == 0
    nothing_is_wrong_with(site, ids)


# -- a wrong set-up


def refusal(worker: QueueWorker) -> str:
    """Return the one sentence by which *worker* said why it can't work, without a second try."""
    assert worker.end() == 4, worker.said()
    assert "trying again" not in worker.said()
    errors = [line for line in worker.said().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, worker.said()
    return errors[0]


def without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def test_missing_credentials_are_told_of_with_the_places_they_may_be_in(
    site: QueueSite, aws_env: pytest.MonkeyPatch
) -> None:
    without_credentials(aws_env)
    said = refusal(site.start())
    assert "no AWS credentials" in said
    assert "AWS_ACCESS_KEY_ID" in said


def test_a_wrong_region_is_named(site: QueueSite) -> None:
    said = refusal(site.start("--no-event-log-to-queue", AWS_DEFAULT_REGION="eu-west-1"))
    assert "eu-west-1" in said
    assert site.name in said
    assert "region" in said


def test_a_missing_region_is_told_of(site: QueueSite, aws_env: pytest.MonkeyPatch) -> None:
    aws_env.delenv("AWS_DEFAULT_REGION")
    assert "AWS_DEFAULT_REGION" in refusal(site.start())


@contextmanager
def strict_about_rights(site: QueueSite) -> Iterator[None]:
    """Let moto look at keys and rights, for what is asked until the end."""
    host, port = site.cloud.server

    def let_pass(requests: str) -> None:
        connection = http.client.HTTPConnection(host, port, timeout=WAIT)
        headers = {"Content-Type": "text/plain"}
        connection.request("POST", "/moto-api/reset-auth", requests.encode(), headers)
        assert connection.getresponse().status == http.HTTPStatus.OK
        connection.close()

    let_pass("0")
    try:
        yield
    finally:
        let_pass("inf")


def test_keys_that_are_not_accepted_are_told_of(site: QueueSite) -> None:
    with strict_about_rights(site):
        said = refusal(site.start("--no-event-log-to-queue"))
    assert repr(site.name) in said
    assert "InvalidClientTokenId" in said


def test_a_user_without_rights_is_told_of(site: QueueSite) -> None:
    import boto3

    iam = boto3.client("iam", endpoint_url=f"http://{':'.join(map(str, site.cloud.server))}")
    iam.create_user(UserName=site.name)
    key = iam.create_access_key(UserName=site.name)["AccessKey"]
    iam.close()
    env = {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }
    with strict_about_rights(site):
        said = refusal(site.start("--no-event-log-to-queue", **env))
    assert repr(site.name) in said
    assert "no permission to use" in said
    assert "is not authorized to perform" in said
    assert key["SecretAccessKey"] not in said


def test_a_missing_queue_is_named(site: QueueSite) -> None:
    site.delete(site.name)
    said = refusal(site.start())
    assert repr(site.name) in said
    assert "load_queue" in said


def test_a_missing_event_queue_is_named_with_the_way_to_do_without(site: QueueSite) -> None:
    site.delete(events_name(site.name))
    site.load({})
    said = refusal(site.start())
    for words in (events_name(site.name), "load_queue", "--no-event-log-to-queue"):
        assert words in said
    assert site.runs() == {}
    assert site.depth() == (1, 0)


# -- what is no task

BAD = {
    "no JSON": b"neither {json",
    "two values": b'{"task_id": "x", "data": {}} {}',
    "no object": b"[1, 2]",
    "no id": b'{"data": {}}',
    "no data": b'{"task_id": "bad-1"}',
    "data of a wrong type": b'{"task_id": "bad-2", "data": [1]}',
    "nothing but a blank": b" ",
    "a megabyte": b"x" * 2**20,
}


def test_messages_that_are_no_tasks_are_put_aside_and_hurt_no_neighbour(site: QueueSite) -> None:
    ids = site.load({}, {})
    site.send(*BAD.values())
    ids += site.load({}, {})
    worker = site.start(*IDLE)
    assert worker.end() == 4
    assert sorted(site.dead()) == sorted(BAD.values())
    assert site.depth() == (0, 0)
    assert {event["task_id"] for event in site.events("task_completed")} == set(ids)
    told = [event["exception"] for event in site.events("non_fatal_exception")]
    assert len(told) == len(BAD)
    assert all(len(text) < 1000 for text in told)
    assert sum("bad-1" in text for text in told) == 1
    assert f"{len(BAD)} entries were no tasks" in worker.said()


def test_what_is_no_task_does_not_count_as_one_of_those_wanted(site: QueueSite) -> None:
    site.send(b"neither", b"nor")
    site.load(*[{}] * 5)
    worker = site.start("--max-num-tasks", "3")
    assert worker.end() == 4
    assert len(site.events("task_completed")) == 3
    assert site.depth() == (2, 0)
