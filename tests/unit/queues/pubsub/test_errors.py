"""A real gRPC server answers as Google's may, where the emulator never does."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from cloud_tasks.errors import (
    ConfigurationError,
    QueueError,
    QueueMissingError,
    QueueRefusedError,
    QueueUnavailableError,
)
from cloud_tasks.queues.base import (
    Failure,
    Message,
    MessageQueue,
    Outgoing,
    QueueInfo,
    QueueSpec,
)
from cloud_tasks.queues.pubsub.admin import PubSubAdmin
from cloud_tasks.queues.pubsub.client import Connection
from cloud_tasks.queues.pubsub.names import Names
from cloud_tasks.queues.pubsub.provider import PubSubProvider
from cloud_tasks.queues.pubsub.queue import PubSubQueue

grpc = pytest.importorskip("grpc", reason="google-cloud-pubsub is not installed")

GONE = "PERMANENT_FAILURE_INVALID_ACK_ID"
LATER = "TRANSIENT_FAILURE_PLEASE_RETRY"
TOKEN = "Getting metadata from plugin failed with error: "
REQUESTS: dict[str, Callable[[MessageQueue], object]] = {
    "check": lambda queue: queue.check(),
    "receive": lambda queue: queue.receive(1, wait=0.0, lease=60.0),
    "extend": lambda queue: queue.extend(held("a"), 60.0),
    "ack": lambda queue: queue.ack(held("a")),
    "release": lambda queue: queue.release(held("a")),
    "send": lambda queue: queue.send([Outgoing(b"x", "key")]),
}


class Service:
    """Answers with what was put into it, else that all is well; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, deque[Callable[[Any], bytes]]] = {}
        self.always: dict[str, Callable[[Any], bytes]] = {}
        self.asked: list[tuple[str, bytes]] = []
        self.times: list[float] = []
        self._lock = threading.Lock()

    def service(self, details: Any) -> Any:
        method = details.method.rpartition("/")[2]

        def answer(request: bytes, context: Any) -> bytes:
            with self._lock:
                self.asked.append((method, request))
                self.times.append(context.time_remaining())
                planned = self.answers.get(method)
                given = planned.popleft() if planned else self.always.get(method)
            return (given or right(method, request))(context)

        return grpc.unary_unary_rpc_method_handler(answer)

    @staticmethod
    def fail(
        code: str, text: str = "words", verdicts: Mapping[str, str] | None = None
    ) -> Callable[[Any], bytes]:
        """Return an answer that is an error."""

        def answer(context: Any) -> bytes:
            if verdicts:
                context.set_trailing_metadata([("grpc-status-details-bin", info(code, verdicts))])
            context.abort(grpc.StatusCode[code], text)
            raise AssertionError

        return answer

    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]


def empty(context: Any) -> bytes:
    return b""


def right(method: str, request: bytes) -> Callable[[Any], bytes]:
    """Return the answer of a service with which all is well."""
    if method == "GetTopic":
        return encoded("Topic", name="projects/earth/topics/jobs-topic")
    if method == "Publish":
        count = len(decoded("PublishRequest", request).messages)
        return encoded("PublishResponse", message_ids=[f"{n}" for n in range(count)])
    return empty


def info(code: str, verdicts: Mapping[str, str]) -> bytes:
    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.rpc.error_details_pb2 import ErrorInfo
    from google.rpc.status_pb2 import Status

    detail = AnyMessage()
    detail.Pack(ErrorInfo(reason="WHATEVER", domain="pubsub.googleapis.com", metadata=verdicts))
    number = grpc.StatusCode[code].value[0]
    data: bytes = Status(code=number, message="words", details=[detail]).SerializeToString()
    return data


def decoded(kind: str, data: bytes) -> Any:
    # By now the adapter has imported it, in its own quiet way.
    import google.pubsub_v1.types

    return getattr(google.pubsub_v1.types, kind).deserialize(data)


def encoded(kind: str, **fields: Any) -> Callable[[Any], bytes]:
    def answer(context: Any) -> bytes:
        import google.pubsub_v1.types

        type_ = getattr(google.pubsub_v1.types, kind)
        data: bytes = type_.serialize(type_(**fields))
        return data

    return answer


def subscription(lease: int = 60, **fields: Any) -> Callable[[Any], bytes]:
    names = Names("jobs", "earth")
    fields = {"name": names.subscription, "topic": names.topic, **fields}
    return encoded("Subscription", ack_deadline_seconds=lease, **fields)


def pulled(*ids: str) -> Callable[[Any], bytes]:
    messages = [
        {"ack_id": ack_id, "message": {"data": b"x", "message_id": f"m-{ack_id}"}} for ack_id in ids
    ]
    return encoded("PullResponse", received_messages=messages)


def held(*ids: str) -> list[Message]:
    return [Message(f"m-{ack_id}", b"x", ack_id) for ack_id in ids]


@pytest.fixture
def service() -> Service:
    service = Service()
    service.always["GetSubscription"] = subscription()
    return service


@pytest.fixture
def connection(service: Service) -> Iterator[Connection]:
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, handlers=[service])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        connection = Connection(Names("jobs", "earth"), f"127.0.0.1:{port}")
        yield connection
        connection.close()
        server.stop(None).wait()


@pytest.fixture
def queue(connection: Connection) -> PubSubQueue:
    return PubSubQueue(connection)


def fail_all(service: Service, code: str, text: str = "words") -> None:
    for method in (
        *("GetTopic", "GetSubscription", "Pull", "Publish"),
        *("Acknowledge", "ModifyAckDeadline"),
    ):
        service.always[method] = service.fail(code, text)


@pytest.mark.parametrize("operation", REQUESTS)
@pytest.mark.parametrize(
    "code",
    ["UNAVAILABLE", "INTERNAL", "ABORTED", "RESOURCE_EXHAUSTED", "UNKNOWN", "CANCELLED"],
)
def test_what_passes_is_told_as_such_after_one_request(
    queue: PubSubQueue, service: Service, operation: str, code: str
) -> None:
    fail_all(service, code)
    with pytest.raises(QueueUnavailableError, match=r"'jobs'.*'earth'.*words"):
        REQUESTS[operation](queue)
    assert len(service.asked) == 1


@pytest.mark.parametrize("operation", REQUESTS)
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("PERMISSION_DENIED", r"roles/pubsub\.(publisher|subscriber)"),
        ("UNAUTHENTICATED", "gcloud auth application-default login"),
        ("FAILED_PRECONDITION", "refuses"),
        ("UNIMPLEMENTED", "refuses"),
    ],
)
def test_what_stays_wrong_is_refused_with_what_to_do(
    queue: PubSubQueue, service: Service, operation: str, code: str, says: str
) -> None:
    fail_all(service, code)
    with pytest.raises(QueueRefusedError, match=says) as raised:
        REQUESTS[operation](queue)
    for part in ("Pub/Sub", "'jobs'", "'earth'", "words"):
        assert part in str(raised.value)


@pytest.mark.parametrize("operation", REQUESTS)
def test_what_is_not_there_is_missing(queue: PubSubQueue, service: Service, operation: str) -> None:
    fail_all(service, "NOT_FOUND")
    with pytest.raises(QueueMissingError, match="load_queue"):
        REQUESTS[operation](queue)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("('invalid_grant: Token has been expired or revoked.', {})", QueueRefusedError),
        ("Reauthentication is needed.", QueueRefusedError),
        ("HTTPSConnectionPool: Max retries exceeded", QueueUnavailableError),
    ],
)
def test_a_token_that_will_never_come_is_told_from_one_that_may(
    queue: PubSubQueue, service: Service, text: str, expected: type[QueueError]
) -> None:
    fail_all(service, "UNAVAILABLE", TOKEN + text)
    with pytest.raises(QueueError) as raised:
        queue.check()
    assert type(raised.value) is expected


def test_every_request_has_a_time_limit(queue: PubSubQueue, service: Service) -> None:
    for request in REQUESTS.values():
        request(queue)
    assert {"GetTopic", "GetSubscription", "Pull", "Publish"} <= set(service.methods())
    assert all(limit is not None and limit <= 10.0 for limit in service.times)


class TestCheck:
    def test_tells_what_the_subscription_says(self, queue: PubSubQueue, service: Service) -> None:
        dead = "projects/earth/topics/jobs-dead-topic"
        policy = {"dead_letter_topic": dead, "max_delivery_attempts": 15}
        service.always["GetSubscription"] = subscription(90, dead_letter_policy=policy)
        assert queue.check() == QueueInfo(counts_attempts=True, lease=90)

    def test_a_sender_needs_no_right_on_the_subscription(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        service.always["GetSubscription"] = service.fail("PERMISSION_DENIED")
        assert queue.check() == QueueInfo(counts_attempts=False, lease=None)
        assert queue.send([Outgoing(b"x", "key")]) == []

    def test_a_receiver_needs_no_right_on_the_topic(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        service.always["GetTopic"] = service.fail("PERMISSION_DENIED")
        assert queue.check() == QueueInfo(counts_attempts=False, lease=60)

    def test_who_may_do_neither_is_refused(self, queue: PubSubQueue, service: Service) -> None:
        fail_all(service, "PERMISSION_DENIED")
        with pytest.raises(QueueRefusedError, match=r"roles/pubsub\.subscriber"):
            queue.check()

    @pytest.mark.parametrize("side", ["topic", "subscription"])
    def test_the_half_that_is_missing_is_named(
        self, queue: PubSubQueue, service: Service, side: str
    ) -> None:
        service.always[f"Get{side.title()}"] = service.fail("NOT_FOUND")
        with pytest.raises(QueueMissingError, match=f"no {side} 'jobs-{side}'"):
            queue.check()


class TestReceive:
    def test_the_end_of_the_time_is_an_empty_answer(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        service.always["Pull"] = service.fail("DEADLINE_EXCEEDED")
        assert queue.receive(1, wait=0.5, lease=60.0) == []

    def test_after_a_long_silence_the_end_of_the_time_is_not_believed(
        self, queue: PubSubQueue, connection: Connection, service: Service
    ) -> None:
        queue.check()
        service.always["Pull"] = service.fail("DEADLINE_EXCEEDED")
        connection.last_answer -= 100
        assert queue.receive(1, wait=0.5, lease=60.0) == []
        assert service.methods()[-2:] == ["Pull", "GetSubscription"]
        service.always["GetSubscription"] = service.fail("UNAVAILABLE")
        assert queue.receive(1, wait=0.5, lease=60.0) == []
        connection.last_answer -= 100
        with pytest.raises(QueueUnavailableError):
            queue.receive(1, wait=0.5, lease=60.0)

    def test_a_service_that_will_not_wait_is_not_asked_without_end(
        self, queue: PubSubQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Time goes on by the looks at it: on a busy machine all of it might be over before the
        # second request.
        looks = itertools.count(0.0, 0.2)
        monkeypatch.setattr(
            "cloud_tasks.queues.pubsub.queue.time", SimpleNamespace(monotonic=lambda: next(looks))
        )
        began = time.monotonic()
        assert queue.receive(1, wait=3.0, lease=60.0) == []
        requests = queue.requests["receive"]
        assert 2 <= requests <= 12
        assert time.monotonic() - began >= 0.2 * (requests - 1)

    def test_the_subscriptions_own_lease_costs_no_request(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        service.always["Pull"] = pulled("a", "b")
        for _ in range(2):
            assert len(queue.receive(10, wait=5.0, lease=60.0)) == 2
        assert service.methods() == ["GetSubscription", "Pull", "Pull"]

    @pytest.mark.parametrize("may_look", [True, False])
    def test_another_lease_costs_one(
        self, queue: PubSubQueue, service: Service, may_look: bool
    ) -> None:
        if not may_look:
            service.always["GetSubscription"] = service.fail("PERMISSION_DENIED")
        service.always["Pull"] = pulled("a", "b")
        for _ in range(2):
            assert len(queue.receive(10, wait=5.0, lease=45.0)) == 2
        repeated = ["Pull", "ModifyAckDeadline"] * 2
        assert service.methods() == ["GetSubscription", *repeated]
        request = decoded("ModifyAckDeadlineRequest", service.asked[-1][1])
        assert (list(request.ack_ids), request.ack_deadline_seconds) == (["a", "b"], 45)
        assert queue.requests["extend"] == 2

    def test_what_was_received_is_kept_though_its_lease_could_not_be_set(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        service.always["Pull"] = pulled("a")
        service.always["ModifyAckDeadline"] = service.fail("UNAVAILABLE")
        assert len(queue.receive(1, wait=5.0, lease=45.0)) == 1

    def test_what_was_lost_at_once_is_not_given(self, queue: PubSubQueue, service: Service) -> None:
        service.always["Pull"] = pulled("a", "b")
        service.always["ModifyAckDeadline"] = service.fail("INVALID_ARGUMENT", verdicts={"a": GONE})
        assert [m.handle for m in queue.receive(2, wait=5.0, lease=45.0)] == ["b"]

    def test_a_queue_made_anew_is_asked_for_its_lease_again(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        service.always["Pull"] = pulled("a")
        queue.check()
        service.answers["Pull"] = deque([service.fail("NOT_FOUND")])
        with pytest.raises(QueueMissingError):
            queue.receive(1, wait=1.0, lease=60.0)
        service.always["GetSubscription"] = subscription(10)
        queue.receive(1, wait=1.0, lease=60.0)
        assert service.methods()[-3:] == ["GetSubscription", "Pull", "ModifyAckDeadline"]

    def test_an_attempt_is_told_where_the_service_counts(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        message = {"data": b"x", "message_id": "m"}
        received = [{"ack_id": "a", "message": message, "delivery_attempt": n} for n in (0, 3)]
        service.always["Pull"] = encoded("PullResponse", received_messages=received)
        assert [m.attempt for m in queue.receive(2, wait=1.0, lease=60.0)] == [None, 3]


class TestSettling:
    @pytest.mark.parametrize("operation", ["ack", "extend", "release"])
    def test_an_exactly_once_subscription_tells_of_each(
        self, queue: PubSubQueue, service: Service, operation: str
    ) -> None:
        verdicts = {"a": GONE, "c": LATER}
        for method in ("Acknowledge", "ModifyAckDeadline"):
            service.always[method] = service.fail("INVALID_ARGUMENT", verdicts=verdicts)
        messages = held("a", "b", "c")
        calls: dict[str, Callable[[], list[Failure]]] = {
            "ack": lambda: queue.ack(messages),
            "extend": lambda: queue.extend(messages, 60.0),
            "release": lambda: queue.release(messages),
        }
        failures = calls[operation]()
        assert [(f.index, f.reason, f.lost) for f in failures] == [
            (0, GONE, True),
            (2, LATER, False),
        ]
        assert queue.requests[operation] == 1

    def test_what_a_passing_error_does_not_mention_is_not_done(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        service.always["Acknowledge"] = service.fail("ABORTED", verdicts={"a": GONE})
        assert [(f.index, f.lost) for f in queue.ack(held("a", "b"))] == [(0, True), (1, False)]

    def test_facts_about_the_error_are_no_verdicts(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        facts = {"service": "pubsub.googleapis.com", "consumer": "projects/1"}
        service.always["Acknowledge"] = service.fail("PERMISSION_DENIED", verdicts=facts)
        with pytest.raises(QueueRefusedError):
            queue.ack(held("a"))

    def test_one_bad_id_does_not_spoil_the_others(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        acked: list[str] = []

        def acknowledge(context: Any) -> bytes:
            ids = list(decoded("AcknowledgeRequest", service.asked[-1][1]).ack_ids)
            if "bad" in ids:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "You have passed an invalid ack ID")
            acked.extend(ids)
            return b""

        service.always["Acknowledge"] = acknowledge
        failures = queue.ack(held(*"abcde", "bad", *"fgh"))
        assert [(f.index, f.lost) for f in failures] == [(5, True)]
        assert acked == list("abcdefgh")

    @pytest.mark.parametrize(
        ("asked", "sent"), [(0.0, 10), (1.0, 10), (59.2, 60), (600.0, 600), (1e9, 600)]
    )
    def test_an_extension_is_clipped(
        self, queue: PubSubQueue, service: Service, asked: float, sent: int
    ) -> None:
        queue.extend(held("a"), asked)
        request = decoded("ModifyAckDeadlineRequest", service.asked[0][1])
        assert request.ack_deadline_seconds == sent

    @pytest.mark.parametrize(
        ("delay", "sent"), [(-1.0, 0), (0.0, 0), (0.2, 1), (5.0, 5), (1e9, 600)]
    )
    def test_a_release_is_a_short_lease(
        self, queue: PubSubQueue, service: Service, delay: float, sent: int
    ) -> None:
        queue.release(held("a"), delay=delay)
        request = decoded("ModifyAckDeadlineRequest", service.asked[0][1])
        assert request.ack_deadline_seconds == sent

    @pytest.mark.parametrize("length", [20, 250, 1500])
    def test_no_request_has_more_than_the_service_takes(
        self, queue: PubSubQueue, service: Service, length: int
    ) -> None:
        ids = [f"{i}".ljust(length, ".") for i in range(2500)]
        assert queue.ack(held(*ids)) == []
        requests = [data for _, data in service.asked]
        found = [list(decoded("AcknowledgeRequest", data).ack_ids) for data in requests]
        assert [ack_id for part in found for ack_id in part] == ids
        assert max(len(part) for part in found) <= 1000
        assert max(len(data) for data in requests) < 512 * 1024


class TestNoAnswers:
    """Answers that lack what they must have are trouble that may pass."""

    @pytest.mark.parametrize("method", ["GetTopic", "GetSubscription"])
    def test_properties_without_a_name(
        self, queue: PubSubQueue, service: Service, method: str
    ) -> None:
        service.always[method] = empty
        with pytest.raises(QueueUnavailableError, match=r"is no Pub/Sub"):
            queue.check()
        del service.always[method]
        service.always["GetSubscription"] = subscription()
        queue.check()

    @pytest.mark.parametrize("ids", [[], ["1"], ["1", "2", "3"]])
    def test_a_send_of_which_not_every_message_has_an_id(
        self, queue: PubSubQueue, service: Service, ids: list[str]
    ) -> None:
        service.always["Publish"] = encoded("PublishResponse", message_ids=ids)
        with pytest.raises(QueueUnavailableError, match=f"{len(ids)} ids for 2 messages"):
            queue.send([Outgoing(b"x", "a"), Outgoing(b"y", "b")])

    @pytest.mark.parametrize(
        "lacking", [{"ack_id": "a", "message": {"data": b"x"}}, {"message": {"message_id": "m"}}]
    )
    def test_a_message_without_its_ids(
        self, queue: PubSubQueue, service: Service, lacking: dict[str, Any]
    ) -> None:
        service.always["Pull"] = encoded("PullResponse", received_messages=[lacking])
        with pytest.raises(QueueUnavailableError, match="without its ids"):
            queue.receive(1, wait=0.0, lease=60.0)


class TestUnfit:
    """A subscription of whose messages a worker gets none, or not all, is named."""

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"detached": True}, "is detached from its topic"),
            ({"filter": 'attributes.a = "b"'}, "has a filter"),
            (
                {"push_config": {"push_endpoint": "https://x.invalid/?token=hush"}},
                "--push-endpoint",
            ),
            ({"bigquery_config": {"table": "p.d.t"}}, "into a table or bucket"),
            ({"cloud_storage_config": {"bucket": "b"}}, "into a table or bucket"),
        ],
        ids=["detached", "filter", "push", "table", "bucket"],
    )
    @pytest.mark.parametrize("how", ["check", "receive", "create"])
    def test_it_is_refused(
        self,
        queue: PubSubQueue,
        connection: Connection,
        service: Service,
        fields: dict[str, Any],
        says: str,
        how: str,
    ) -> None:
        service.always["GetSubscription"] = subscription(**fields)
        admin = PubSubAdmin(connection)
        uses: dict[str, Callable[[PubSubQueue], object]] = {
            **REQUESTS,
            "create": lambda queue: admin.create(QueueSpec()),
        }
        with pytest.raises(QueueRefusedError, match="jobs-subscription") as raised:
            uses[how](queue)
        assert says in str(raised.value)
        assert "hush" not in str(raised.value)


class TestSend:
    def test_no_request_has_more_than_the_service_takes(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        small = [Outgoing(f"{i}".encode(), f"{i}") for i in range(2500)]
        # gRPC servers take 4 MB unless told otherwise; Google's was.
        assert queue.send(small) == []
        found = [decoded("PublishRequest", data).messages for _, data in service.asked]
        assert [len(part) for part in found] == [1000, 1000, 500]
        assert [m.data for part in found for m in part] == [m.body for m in small]

    def test_an_empty_message_is_a_failure_of_that_one(
        self, queue: PubSubQueue, service: Service
    ) -> None:
        failures = queue.send([Outgoing(b"", "a"), Outgoing(b"x", "b")])
        assert [(f.index, f.lost) for f in failures] == [(0, True)]
        assert service.methods() == ["Publish"]


def test_a_closed_queue_is_unavailable(queue: PubSubQueue) -> None:
    queue.check()
    queue.close()
    for request in REQUESTS.values():
        with pytest.raises(QueueUnavailableError, match="closed"):
            request(queue)


def test_closing_ends_a_request_under_way(queue: PubSubQueue, service: Service) -> None:
    under_way, end = threading.Event(), threading.Event()

    def wait(context: Any) -> bytes:
        under_way.set()
        end.wait(40)
        return b""

    service.always["Pull"] = wait
    with ThreadPoolExecutor(1) as pool:
        pulling = pool.submit(queue.receive, 1, wait=20.0, lease=60.0)
        assert under_way.wait(30)
        queue.close()
        with pytest.raises(QueueUnavailableError):
            pulling.result(30)
        end.set()


def test_a_project_is_needed() -> None:
    for make in (PubSubProvider().queue, PubSubProvider().admin):
        with pytest.raises(ConfigurationError, match="--project-id"):
            make("jobs")


@pytest.mark.parametrize("endpoint", ["ftp://localhost:1", "http://", "", "[", "127.0.0.1:x"])
def test_an_endpoint_that_is_none_is_named(endpoint: str) -> None:
    queue = PubSubProvider(project_id="earth", endpoint_url=endpoint).queue("jobs")
    with pytest.raises(QueueRefusedError, match="host:port"):
        queue.check()
