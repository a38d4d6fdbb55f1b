"""SQS through the real SDK, against moto."""

from __future__ import annotations

import concurrent.futures
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from integration.sqs_words import LONG, bodies, numbers, outgoing, take
from servers import moto_server
from servers.moto import unique_name
from servers.sqs_faults import error

from cloud_tasks import registry
from cloud_tasks.errors import QueueMissingError, QueueUnavailableError
from cloud_tasks.queues.base import Depth, Message, Outgoing, QueueSpec, dead_name, events_name
from cloud_tasks.queues.sqs.provider import SqsProvider
from cloud_tasks.queues.sqs.queue import SqsQueue


@pytest.fixture(params=["standard", "fifo"])
def exactly_once(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "fifo")


@pytest.fixture
def provider(moto_url: str, aws_env: object) -> Iterator[SqsProvider]:
    provider = SqsProvider(endpoint_url=moto_url)
    yield provider
    provider.connection.close()


@pytest.fixture
def queue(provider: SqsProvider) -> SqsQueue:
    name = unique_name()
    assert provider.admin(name).create(QueueSpec())
    return provider.queue(name)


def parameters(provider: SqsProvider, operation: str) -> list[dict[str, Any]]:
    """Return a list that will hold what each request of *operation* asks for."""
    asked: list[dict[str, Any]] = []
    provider.connection.client().meta.events.register(
        f"before-parameter-build.sqs.{operation}",
        lambda params, **_: asked.append(json.loads(json.dumps(params))),
    )
    return asked


class TestQueue:
    def test_it_is_what_the_registry_calls_aws(self) -> None:
        assert registry.load("queue", "AWS") is SqsProvider

    def test_whole_seconds_within_its_limits_are_asked_for(
        self, queue: SqsQueue, provider: SqsProvider
    ) -> None:
        asked = parameters(provider, "ReceiveMessage")
        queue.send(numbers(1))
        queue.receive(99, wait=0.2, lease=1e9)
        assert asked[0]["MaxNumberOfMessages"] == 10
        assert asked[0]["WaitTimeSeconds"] == 1
        assert asked[0]["VisibilityTimeout"] == 43200
        queue.send(numbers(1))
        queue.receive(1, wait=99, lease=1.5)
        assert asked[1]["WaitTimeSeconds"] == 20
        assert asked[1]["VisibilityTimeout"] == 2

    def test_nothing_is_received_where_nothing_is_asked_for(self, queue: SqsQueue) -> None:
        assert queue.receive(0, wait=20, lease=LONG) == []
        assert not queue.requests

    def test_its_url_is_looked_up_once(self, queue: SqsQueue) -> None:
        queue.send(numbers(1))
        queue.ack(take(queue, 1))
        assert queue.requests["url"] == 1
        assert queue.requests["send"] == queue.requests["ack"] == 1

    def test_a_check_is_one_request_and_finds_the_url_as_well(self, queue: SqsQueue) -> None:
        assert queue.check().lease is None
        queue.receive(1, wait=0, lease=LONG)
        assert queue.requests == {"check": 1, "receive": 1}

    def test_a_queue_that_was_made_again_is_found_again(
        self, queue: SqsQueue, provider: SqsProvider
    ) -> None:
        queue.check()
        admin = provider.admin(queue.name)
        admin.delete()
        with pytest.raises(QueueMissingError):
            queue.receive(1, wait=0, lease=LONG)
        admin.create(QueueSpec())
        assert queue.receive(1, wait=0, lease=LONG) == []
        assert queue.requests["url"] == 1

    def test_it_works_again_after_it_was_closed(self, queue: SqsQueue) -> None:
        queue.send(numbers(1))
        queue.close()
        assert bodies(take(queue, 1)) == ["0"]

    def test_threads_that_come_first_share_one_client(self, provider: SqsProvider) -> None:
        with ThreadPoolExecutor(8) as pool:
            clients = list(pool.map(lambda _: provider.connection.client(), range(8)))
        assert len({id(client) for client in clients}) == 1

    def test_more_threads_than_connections_all_get_their_answer(self, queue: SqsQueue) -> None:
        with ThreadPoolExecutor(16) as pool:
            sent = list(pool.map(lambda n: queue.send(outgoing(str(n))), range(32)))
        assert sent == [[]] * 32
        assert queue.requests["send"] == 32

    def test_a_handle_that_sqs_does_not_know_is_lost_and_hurts_no_other(
        self, queue: SqsQueue
    ) -> None:
        queue.send(numbers(3))
        held = take(queue, 3)
        held[1].handle = replace(held[1].handle, handle="unknown")
        for (failure,) in (queue.extend(held, LONG), queue.ack(held)):
            assert (failure.index, failure.lost) == (1, True)
            assert "ReceiptHandleIsInvalid" in failure.reason

    def test_what_is_no_text_is_a_failure(self, queue: SqsQueue) -> None:
        sent = [Outgoing(b"", "e"), Outgoing(b"\xff", "b"), *outgoing("good")]
        failures = queue.send(sent)
        assert [(failure.index, failure.lost) for failure in failures] == [(0, True), (1, True)]
        assert bodies(take(queue, 1)) == ["good"]

    def test_the_largest_message_goes_through(self, queue: SqsQueue) -> None:
        body = b"x" * queue.limits.message_bytes
        assert queue.send([Outgoing(body, "l"), *outgoing("small")]) == []
        assert queue.requests["send"] == 2
        assert sorted(len(m.body) for m in take(queue, 2)) == [5, len(body)]


def test_the_stand_in_gives_no_message_to_two_who_receive_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = pytest.importorskip("moto.sqs.models")
    for name in moto_server.TOUCHING:
        monkeypatch.setattr(models.SQSBackend, name, getattr(models.SQSBackend, name))
    moto_server.guard_queues()
    backend = models.SQSBackend("us-east-1", "123456789012")
    backend.create_queue("jobs", {})
    backend.send_message("jobs", "x")
    taking, go_on = threading.Event(), threading.Event()
    mark = models.Message.mark_received

    def slowly(message: Any, **keywords: Any) -> None:
        # It is chosen, but not hidden yet.
        taking.set()
        go_on.wait(20)
        mark(message, **keywords)

    monkeypatch.setattr(models.Message, "mark_received", slowly)
    with ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(backend.receive_message, "jobs", 1, 0, 60)
            assert taking.wait(20)
            second = pool.submit(backend.receive_message, "jobs", 1, 0, 60)
            # Time to take it, too: a loaded machine may need longer, and shows nothing then.
            concurrent.futures.wait([second], 0.5)
        finally:
            go_on.set()
        assert (len(first.result()), second.result()) == (1, [])


class TestTwelveHours:
    """A delivery that came long ago is made by moving the time of its receipt."""

    def aged(self, queue: SqsQueue, seconds: float) -> list[Message]:
        queue.send(numbers(1))
        (message,) = take(queue, 1)
        message.handle = replace(message.handle, received=message.handle.received - seconds)
        return [message]

    def test_an_extension_stops_short_of_the_longest_hold(
        self, queue: SqsQueue, provider: SqsProvider
    ) -> None:
        asked = parameters(provider, "ChangeMessageVisibilityBatch")
        assert queue.extend(self.aged(queue, 43_000), 300) == []
        assert 30 <= asked[0]["Entries"][0]["VisibilityTimeout"] <= 140

    def test_a_hold_that_is_over_is_lost_without_a_request(self, queue: SqsQueue) -> None:
        (failure,) = queue.extend(self.aged(queue, 43_190), 120)
        assert (failure.index, failure.lost) == (0, True)
        assert "12 hours" in failure.reason
        assert queue.requests["extend"] == 0

    def test_it_can_still_be_released_and_acknowledged(self, queue: SqsQueue) -> None:
        held = self.aged(queue, 43_190)
        assert queue.release(held, delay=300) == []
        assert queue.ack(take(queue, 1)) == []


class TestFifo:
    @pytest.fixture
    def provider(self, moto_url: str, aws_env: object) -> Iterator[SqsProvider]:
        provider = SqsProvider(endpoint_url=moto_url, exactly_once=True)
        yield provider
        provider.connection.close()

    def test_messages_of_different_keys_never_wait_for_each_other(self, queue: SqsQueue) -> None:
        assert queue.name.endswith(".fifo")
        queue.send(numbers(5))
        assert len({m.message_id for m in take(queue, 5)}) == 5

    def test_keys_that_sqs_refuses_still_tell_messages_apart(self, queue: SqsQueue) -> None:
        keys = ["two words", "two  words", "täsk", "x" * 500, "x" * 501]
        for _ in range(2):
            assert queue.send([Outgoing(key.encode(), key) for key in keys]) == []
        assert bodies(take(queue, 5)) == bodies([Message("", key.encode(), None) for key in keys])
        assert queue.receive(1, wait=1, lease=LONG) == []

    def test_a_name_that_has_the_ending_makes_a_fifo_queue_without_the_option(
        self, moto_url: str, aws_env: object
    ) -> None:
        provider = SqsProvider(endpoint_url=moto_url)
        name = f"{unique_name()}.fifo"
        assert provider.admin(name).create(QueueSpec())
        assert provider.queue(name).send(numbers(2)) == []
        provider.connection.close()


class TestAdmin:
    @pytest.fixture
    def provider(self, moto_url: str, aws_env: object, exactly_once: bool) -> Iterator[SqsProvider]:
        provider = SqsProvider(endpoint_url=moto_url, exactly_once=exactly_once)
        yield provider
        provider.connection.close()

    def attributes(self, provider: SqsProvider, name: str) -> dict[str, str]:
        client = provider.connection.client()
        url = client.get_queue_url(QueueName=name)["QueueUrl"]
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return {key: str(value) for key, value in found.items()}

    def test_a_queue_is_made_as_it_was_ordered(
        self, provider: SqsProvider, exactly_once: bool
    ) -> None:
        name = unique_name()
        dead = provider.admin(dead_name(name))
        assert dead.create(QueueSpec())
        spec = QueueSpec(lease=77, retention=3600, dead_letter=dead_name(name), max_deliveries=7)
        admin = provider.admin(name)
        assert admin.create(spec)
        made = self.attributes(provider, admin.name)
        assert made["VisibilityTimeout"] == "77"
        assert made["MessageRetentionPeriod"] == "3600"
        policy = json.loads(made["RedrivePolicy"])
        assert policy["deadLetterTargetArn"].endswith(f":{dead.name}")
        assert int(policy["maxReceiveCount"]) == 7
        assert made.get("FifoQueue", "false") == str(exactly_once).lower()
        if exactly_once:
            assert made["ContentBasedDeduplication"] == "false"
            assert made["DeduplicationScope"] == "messageGroup"
            assert made["FifoThroughputLimit"] == "perMessageGroupId"

    def test_one_that_is_there_stays_as_it_is(self, provider: SqsProvider) -> None:
        admin = provider.admin(unique_name())
        assert admin.create(QueueSpec(lease=50))
        assert not admin.create(QueueSpec(lease=60))
        assert self.attributes(provider, admin.name)["VisibilityTimeout"] == "50"

    def test_two_that_make_it_at_once_both_get_it(self, provider: SqsProvider) -> None:
        admin = provider.admin(unique_name())
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda lease: admin.create(QueueSpec(lease)), [50, 60]))
        assert True in results

    def test_the_queue_for_dead_letters_must_be_there(self, provider: SqsProvider) -> None:
        name = unique_name()
        with pytest.raises(QueueMissingError, match=f"{name}-dead"):
            provider.admin(name).create(QueueSpec(dead_letter=dead_name(name)))
        with pytest.raises(QueueMissingError):
            provider.queue(name).check()

    def test_a_message_delivered_too_often_is_found_in_that_queue(
        self, provider: SqsProvider
    ) -> None:
        name = unique_name()
        provider.admin(dead_name(name)).create(QueueSpec())
        provider.admin(name).create(QueueSpec(dead_letter=dead_name(name), max_deliveries=2))
        queue, dead = provider.queue(name), provider.queue(dead_name(name))
        queue.send(numbers(1))
        for attempt in (1, 2):
            (message,) = take(queue, 1)
            assert message.attempt == attempt
            queue.release([message])
        assert queue.receive(1, wait=0, lease=LONG) == []
        assert bodies(take(dead, 1)) == ["0"]

    def test_its_depth_tells_what_waits_and_what_is_held(self, provider: SqsProvider) -> None:
        name = unique_name()
        admin, queue = provider.admin(name), provider.queue(name)
        admin.create(QueueSpec())
        queue.send(numbers(3))
        take(queue, 1)
        assert admin.depth() == Depth(visible=2, in_flight=1, exact=False)

    def test_a_second_purge_in_a_minute_is_told_to_wait(self, provider: SqsProvider) -> None:
        admin = provider.admin(unique_name())
        admin.create(QueueSpec())
        admin.purge()
        with pytest.raises(QueueUnavailableError, match="wait 60 s"):
            admin.purge()

    def test_a_deleted_one_is_gone(self, provider: SqsProvider) -> None:
        admin = provider.admin(unique_name())
        assert not admin.delete()
        admin.create(QueueSpec())
        assert admin.delete()
        assert not admin.delete()

    def test_making_it_again_too_soon_is_told_to_wait(self, provider: SqsProvider) -> None:
        error("QueueDeletedRecently", operation="CreateQueue").put_into(provider.connection)
        admin = provider.admin(unique_name())
        with pytest.raises(QueueUnavailableError, match="wait 60 s"):
            admin.create(QueueSpec())
        assert admin.create(QueueSpec())

    def test_the_three_queues_of_a_job_have_names_of_one_kind(
        self, provider: SqsProvider, exactly_once: bool
    ) -> None:
        end = ".fifo" if exactly_once else ""
        names = [provider.queue(of("job")).name for of in (str, events_name, dead_name)]
        assert names == [f"job{end}", f"job-events{end}", f"job-dead{end}"]
