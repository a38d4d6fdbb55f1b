"""What the queues in memory do on a test's behalf; what they promise is in the contract."""

from __future__ import annotations

import pytest
from fakes import FakeClock

from cloud_tasks.errors import QueueRefusedError, QueueUnavailableError
from cloud_tasks.queues.base import QueueSpec
from cloud_tasks.testing.fake_queue import FakeProvider, FakeQueue, FakeServer
from cloud_tasks.testing.queue_harness import outgoing, put


@pytest.fixture
def server() -> FakeServer:
    return FakeServer(clock=FakeClock())


@pytest.fixture
def queue(server: FakeServer) -> FakeQueue:
    provider = FakeProvider(server)
    provider.admin("jobs").create(QueueSpec())
    return provider.queue("jobs")


def bodies(queue: FakeQueue) -> list[bytes]:
    return [message.body for message in queue.receive(10, wait=0, lease=30)]


def test_leases_end_by_the_clock_that_was_given(queue: FakeQueue, server: FakeServer) -> None:
    assert isinstance(server.clock, FakeClock)
    put(queue, ["a"])
    assert bodies(queue) == [b"a"]
    server.clock.now += 29.9
    assert bodies(queue) == []
    server.clock.now += 0.1
    assert bodies(queue) == [b"a"]


def test_refused_requests_are_not_done(queue: FakeQueue, server: FakeServer) -> None:
    server.stored("jobs").refuse("send", 2, QueueRefusedError("no"))
    for _ in range(2):
        with pytest.raises(QueueRefusedError, match="no"):
            put(queue, ["lost"])
    put(queue, ["a"])
    assert bodies(queue) == [b"a"]
    assert queue.requests["send"] == 3


def test_requests_whose_answer_is_dropped_are_done(queue: FakeQueue, server: FakeServer) -> None:
    server.stored("jobs").drop_answers("send", 1)
    with pytest.raises(QueueUnavailableError):
        put(queue, ["a"])
    put(queue, ["a"])
    assert bodies(queue) == [b"a", b"a"]


def test_single_messages_of_a_request_can_fail(queue: FakeQueue, server: FakeServer) -> None:
    server.stored("jobs").fail_messages("send", 2, "a bad day")
    failures = queue.send(outgoing(["a", "b", "c"]))
    assert [(f.index, f.reason, f.lost) for f in failures] == [
        (0, "a bad day", False),
        (1, "a bad day", False),
    ]
    assert bodies(queue) == [b"c"]


def test_a_duplicate_has_the_same_id_and_a_life_of_its_own(
    queue: FakeQueue, server: FakeServer
) -> None:
    put(queue, ["a", "b"])
    first = queue.receive(2, wait=0, lease=30)
    server.stored("jobs").duplicate(1)
    (again,) = queue.receive(2, wait=0, lease=30)
    assert (again.message_id, again.body) == (first[0].message_id, b"a")
    assert queue.ack(first) == []
    assert queue.ack([again]) == []
    assert server.stored("jobs").split() == (0, 0)


def test_lost_leases_cannot_be_settled(queue: FakeQueue, server: FakeServer) -> None:
    put(queue, ["a"])
    held = queue.receive(1, wait=0, lease=30)
    server.stored("jobs").lose_leases()
    assert [failure.lost for failure in queue.extend(held, 30)] == [True]
    assert [failure.lost for failure in queue.ack(held)] == [True]
    assert server.stored("jobs").split() == (1, 0)


def test_trouble_of_a_tests_own_making_is_asked_before_each_request(
    queue: FakeQueue, server: FakeServer
) -> None:
    asked: list[tuple[str, str]] = []

    def trouble(name: str, operation: str) -> None:
        asked.append((name, operation))

    server.trouble = trouble
    queue.check()
    put(queue, ["x"] * 11)
    assert asked == [("jobs", "check"), ("jobs", "send"), ("jobs", "send")]
