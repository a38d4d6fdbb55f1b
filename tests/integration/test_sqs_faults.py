"""What SQS, the way to it or the set-up can do to us, through the real SDK."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from integration.sqs_words import LONG, bodies, numbers, outgoing, take
from servers.moto import unique_name
from servers.sqs_faults import Fault, error, failed

from cloud_tasks.errors import (
    QueueError,
    QueueMissingError,
    QueueRefusedError,
    QueueUnavailableError,
)
from cloud_tasks.queues.base import Failure, Message, QueueSpec
from cloud_tasks.queues.sqs.provider import SqsProvider
from cloud_tasks.queues.sqs.queue import SqsQueue

#: Seconds within which a wrong set-up must be told of: 5, and a loaded machine on top.
TOLD_WITHIN = 30.0


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


SETTLING: dict[str, Callable[[SqsQueue, list[Message]], list[Failure]]] = {
    "extend": lambda queue, held: queue.extend(held, LONG),
    "ack": lambda queue, held: queue.ack(held),
    "release": lambda queue, held: queue.release(held),
}
REQUESTS: dict[str, Callable[[SqsQueue, list[Message]], object]] = {
    "check": lambda queue, _: queue.check(),
    "receive": lambda queue, _: queue.receive(1, wait=0, lease=LONG),
    "send": lambda queue, _: queue.send(numbers(2)),
    **SETTLING,
}


class TestFaults:
    @pytest.mark.parametrize("operation", REQUESTS)
    @pytest.mark.parametrize(
        "fault",
        [
            lambda: error("ThrottlingException"),
            lambda: error("RequestThrottled", status=403),
            lambda: error("InternalFailure", status=500),
            lambda: error("ExpiredToken", status=403),
            lambda: Fault("*", 503, b"<html>busy</html>"),
        ],
        ids=["throttled", "throttled by 403", "500", "expired token", "a gateway's 503"],
    )
    def test_what_passes_is_told_as_such_after_one_request(
        self,
        queue: SqsQueue,
        provider: SqsProvider,
        fault: Callable[[], Fault],
        operation: str,
    ) -> None:
        queue.send(numbers(1))
        held = take(queue, 1)
        answered = fault().put_into(provider.connection)
        with pytest.raises(QueueUnavailableError, match=queue.name):
            REQUESTS[operation](queue, held)
        assert len(answered.requests) == 1
        REQUESTS[operation](queue, held)

    @pytest.mark.parametrize(
        ("code", "says"),
        [
            ("AccessDeniedException", "no permission to use"),
            ("InvalidClientTokenId", "does not accept the credentials"),
            ("SignatureDoesNotMatch", "does not accept the credentials"),
            ("UnsupportedOperation", "UnsupportedOperation"),
        ],
    )
    def test_what_stays_wrong_is_refused(
        self, queue: SqsQueue, provider: SqsProvider, code: str, says: str
    ) -> None:
        error(code, "hush" if "Signature" in code else "sqs:X", status=403).put_into(
            provider.connection
        )
        with pytest.raises(QueueRefusedError, match=says) as raised:
            queue.send(numbers(1))
        assert queue.name in str(raised.value)
        assert "us-east-1" in str(raised.value)
        assert "hush" not in str(raised.value)
        assert queue.send(numbers(1)) == []

    @pytest.mark.parametrize(
        "code", ["QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"]
    )
    def test_a_missing_queue_is_known_by_both_of_its_codes(
        self, queue: SqsQueue, provider: SqsProvider, code: str
    ) -> None:
        error(code).put_into(provider.connection)
        with pytest.raises(QueueMissingError, match="load_queue"):
            queue.check()

    @pytest.mark.parametrize(
        ("code", "message", "sender", "lost"),
        [
            ("ReceiptHandleIsInvalid", "", True, True),
            ("MessageNotInflight", "", True, True),
            ("InvalidParameterValue", "The receipt handle has expired", True, True),
            ("InternalError", "try later", False, False),
        ],
    )
    @pytest.mark.parametrize("operation", SETTLING)
    def test_a_part_that_failed_is_told_by_its_place_in_the_whole(
        self,
        queue: SqsQueue,
        provider: SqsProvider,
        operation: str,
        code: str,
        message: str,
        sender: bool,
        lost: bool,
    ) -> None:
        queue.send(numbers(12))
        held = take(queue, 12)
        entry = (11, code, message, sender)
        # The first batch of ten goes through; the fault is for the second, which has Id 11.
        fault = failed("*", entry)
        fault.containing = b'"11"'
        fault.put_into(provider.connection)
        (failure,) = SETTLING[operation](queue, held)
        assert (failure.index, failure.lost) == (11, lost)
        assert code in failure.reason

    def test_a_part_that_was_not_sent_is_told_by_whose_fault_it_is(
        self, queue: SqsQueue, provider: SqsProvider
    ) -> None:
        failed(
            "SendMessageBatch",
            (0, "InvalidMessageContents", "characters", True),
            (2, "InternalError", "", False),
        ).put_into(provider.connection)
        failures = queue.send(numbers(3))
        assert [(failure.index, failure.lost) for failure in failures] == [(0, True), (2, False)]

    def test_one_message_that_spoils_a_request_is_found(
        self, queue: SqsQueue, provider: SqsProvider
    ) -> None:
        spoilt = error(
            "InvalidMessageContents", "Invalid characters", times=99, containing=b"bad"
        ).put_into(provider.connection)
        (failure,) = queue.send(outgoing("a", "b", "bad", "c"))
        assert (failure.index, failure.lost) == (2, True)
        assert "Invalid characters" in failure.reason
        assert bodies(take(queue, 3)) == ["a", "b", "c"]
        assert sum(b'"bad"' in request for request in spoilt.requests) == 2

    def test_what_was_sent_before_the_trouble_is_not_sent_again(
        self, queue: SqsQueue, provider: SqsProvider
    ) -> None:
        error("ThrottlingException", containing=b'"10"').put_into(provider.connection)
        messages = numbers(23)
        failures = queue.send(messages)
        assert [failure.index for failure in failures] == list(range(10, 23))
        assert not any(failure.lost for failure in failures)
        assert queue.send([messages[failure.index] for failure in failures]) == []
        assert bodies(take(queue, 23)) == [str(i) for i in range(23)]
        assert queue.receive(1, wait=1, lease=LONG) == []


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Serve HTTP on this machine by *answer*, and give the server's URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # All of the request: what is left unread when the server closes makes the kernel
            # reset the connection, and the answer may be lost.
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        do_POST = do_PUT = do_GET  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def page(status: int, content: bytes, kind: str = "text/html") -> Callable[..., None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def told(provider: SqsProvider, name: str = "job") -> QueueError:
    """Return the error of a check, which must come soon."""
    began = time.monotonic()
    with pytest.raises(QueueError) as raised:
        provider.queue(name).check()
    assert time.monotonic() - began < TOLD_WITHIN
    assert name in str(raised.value)
    # The SDK's own errors may hold secrets, so no traceback shows them.
    assert "botocore" not in "".join(traceback.format_exception(raised.value))
    provider.connection.close()
    return raised.value


class TestSurroundings:
    def test_no_credentials_are_one_clear_error(
        self, moto_url: str, aws_env: pytest.MonkeyPatch
    ) -> None:
        aws_env.delenv("AWS_ACCESS_KEY_ID")
        aws_env.delenv("AWS_SECRET_ACCESS_KEY")
        raised = told(SqsProvider(endpoint_url=moto_url))
        assert isinstance(raised, QueueRefusedError)
        for place in ("AWS_ACCESS_KEY_ID", "~/.aws/credentials", "role"):
            assert place in str(raised)

    def test_no_credentials_and_a_silent_metadata_service_are_told_soon_as_well(
        self, moto_url: str, aws_env: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
            aws_env.delenv(name)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            aws_env.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{port}/")
            assert isinstance(told(SqsProvider(endpoint_url=moto_url)), QueueRefusedError)

    def test_no_region_is_one_clear_error(self, moto_url: str, aws_env: pytest.MonkeyPatch) -> None:
        aws_env.delenv("AWS_DEFAULT_REGION")
        raised = told(SqsProvider(endpoint_url=moto_url))
        assert isinstance(raised, QueueRefusedError)
        assert "AWS_DEFAULT_REGION" in str(raised)

    def test_an_instance_tells_its_region_itself(
        self, moto_url: str, aws_env: pytest.MonkeyPatch
    ) -> None:
        for name in ("AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED"):
            aws_env.delenv(name)
        # The SDK waits for a second, in which the server here may not have its turn.
        aws_env.setenv("AWS_METADATA_SERVICE_TIMEOUT", "10")
        with answering(page(200, b"eu-west-1b", "text/plain")) as url:
            aws_env.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{url}/")
            assert "in region eu-west-1 " in str(told(SqsProvider(endpoint_url=moto_url)))

    def test_a_profile_that_is_not_there_is_refused(
        self, moto_url: str, aws_env: pytest.MonkeyPatch
    ) -> None:
        aws_env.setenv("AWS_PROFILE", "nobody")
        raised = told(SqsProvider(endpoint_url=moto_url))
        assert isinstance(raised, QueueRefusedError)
        assert "nobody" in str(raised)

    def test_another_region_has_no_such_queue(
        self, queue: SqsQueue, moto_url: str, aws_env: pytest.MonkeyPatch
    ) -> None:
        aws_env.setenv("AWS_DEFAULT_REGION", "ap-south-1")
        raised = told(SqsProvider(endpoint_url=moto_url), queue.name)
        assert isinstance(raised, QueueMissingError)
        assert "ap-south-1" in str(raised)

    def test_the_sdks_own_variable_names_the_endpoint(
        self, queue: SqsQueue, moto_url: str, aws_env: pytest.MonkeyPatch
    ) -> None:
        aws_env.setenv("AWS_ENDPOINT_URL_SQS", moto_url)
        provider = SqsProvider()
        provider.queue(queue.name).check()
        assert moto_url in provider.connection.place(queue.name)
        provider.connection.close()

    def test_a_server_that_is_away_may_come_back(self, aws_env: object) -> None:
        # Bound, so that nobody else gets the port, but not listening.
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            raised = told(SqsProvider(endpoint_url=f"http://127.0.0.1:{port}"))
        assert isinstance(raised, QueueUnavailableError)
        assert f"http://127.0.0.1:{port}" in str(raised)
        assert "Connection refused" in str(raised)

    def test_a_name_that_nobody_knows_may_be_known_later(self, aws_env: object) -> None:
        raised = told(SqsProvider(endpoint_url="http://sqs.invalid"))
        assert isinstance(raised, QueueUnavailableError)

    @pytest.mark.parametrize("endpoint", ["nonsense", "http://", "http://[", "http://127.0.0.1:x"])
    def test_an_endpoint_that_is_none_is_refused(self, aws_env: object, endpoint: str) -> None:
        assert isinstance(told(SqsProvider(endpoint_url=endpoint)), QueueRefusedError)

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (page(200, b"<html>hello</html>"), QueueUnavailableError),
            (page(200, b"[]", "application/json"), QueueUnavailableError),
            (page(404, b"<html>not here</html>"), QueueUnavailableError),
            (page(502, b"<html>bad gateway</html>"), QueueUnavailableError),
            (lambda handler: handler.connection.close(), QueueUnavailableError),
        ],
        ids=["a page", "other data", "nothing there", "a gateway", "a cut connection"],
    )
    def test_what_is_no_sqs_is_told_as_such(
        self, aws_env: object, answer: Callable[[Any], None], expected: type[QueueError]
    ) -> None:
        with answering(answer) as url:
            raised = told(SqsProvider(endpoint_url=url))
        assert isinstance(raised, expected)
        assert url in str(raised)
