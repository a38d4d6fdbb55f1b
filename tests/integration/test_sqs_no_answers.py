"""Answers that are no answers of SQS: they are never taken for a success."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from integration.sqs_words import LONG, numbers, take
from servers.moto import unique_name
from servers.portal import PAGE, Portal, portal

from cloud_tasks.errors import QueueUnavailableError
from cloud_tasks.queues.base import Message, QueueSpec, dead_name
from cloud_tasks.queues.job import with_retries
from cloud_tasks.queues.sqs.provider import SqsProvider

JSON = "application/x-amz-json-1.0"
HTML = (200, "text/html", PAGE)
#: Answers that no operation may have.
WRONG = {
    "a page": HTML,
    "a page that calls itself data": (200, JSON, PAGE),
    "a list": (200, JSON, b"[]"),
    "a text": (200, JSON, b'"ok"'),
    "about something else": (200, JSON, b'{"login": "https://portal.invalid"}'),
    "a way to a page": (302, "text/html", PAGE),
    "a demand to log in": (511, "text/html", PAGE),
    "a proxy's refusal": (403, "text/html", PAGE),
}
Use = Callable[[SqsProvider, str, list[Message]], object]
MESSAGES: dict[str, Use] = {
    "check": lambda p, name, held: p.queue(name).check(),
    "receive": lambda p, name, held: p.queue(name).receive(1, wait=0, lease=LONG),
    "extend": lambda p, name, held: p.queue(name).extend(held, LONG),
    "ack": lambda p, name, held: p.queue(name).ack(held),
    "release": lambda p, name, held: p.queue(name).release(held),
    "send": lambda p, name, held: p.queue(name).send(numbers(2)),
    "backlog": lambda p, name, held: p.queue(name).backlog(),
}
ADMIN: dict[str, Use] = {
    "create": lambda p, name, held: p.admin(f"{name}-new").create(
        QueueSpec(dead_letter=dead_name(name))
    ),
    "depth": lambda p, name, held: p.admin(name).depth(),
    "purge": lambda p, name, held: p.admin(name).purge(),
    "delete": lambda p, name, held: p.admin(name).delete(),
}
#: The request of each that is not the look-up of the queue's URL.
REQUESTS = {
    "receive": "ReceiveMessage",
    "extend": "ChangeMessageVisibilityBatch",
    "ack": "DeleteMessageBatch",
    "release": "ChangeMessageVisibilityBatch",
    "send": "SendMessageBatch",
    "backlog": "GetQueueAttributes",
    "create": "CreateQueue",
    "depth": "GetQueueAttributes",
    "purge": "PurgeQueue",
    "delete": "DeleteQueue",
}


@pytest.fixture
def way(moto_url: str, aws_env: object) -> Iterator[Portal]:
    with portal(moto_url) as way:
        yield way


@pytest.fixture
def provider(way: Portal) -> Iterator[SqsProvider]:
    provider = SqsProvider(endpoint_url=way.url)
    yield provider
    provider.connection.close()


@pytest.fixture
def name(provider: SqsProvider) -> str:
    name = unique_name()
    for one in (dead_name(name), name):
        assert provider.admin(one).create(QueueSpec())
    return name


@pytest.mark.parametrize("answer", WRONG)
@pytest.mark.parametrize("use", [*MESSAGES, *ADMIN])
def test_it_is_told_as_trouble_that_may_pass(
    way: Portal, provider: SqsProvider, name: str, use: str, answer: str
) -> None:
    held: list[Message] = []
    if use in ("extend", "ack", "release"):
        provider.queue(name).send(numbers(1))
        held = take(provider.queue(name), 1)
    way.answer, way.only = WRONG[answer], REQUESTS.get(use, "")
    do = {**MESSAGES, **ADMIN}[use]
    with pytest.raises(QueueUnavailableError, match=name) as raised:
        do(provider, name, held)
    assert len(way.answered) == 1
    assert "Please log in" not in str(raised.value)
    way.answer = None
    do(provider, name, held)


@pytest.mark.parametrize("use", ["check", "create", "depth", "backlog"])
def test_an_empty_object_lacks_what_these_must_have(
    way: Portal, provider: SqsProvider, name: str, use: str
) -> None:
    way.answer, way.only = (200, JSON, b"{}"), REQUESTS.get(use, "")
    with pytest.raises(QueueUnavailableError, match="an answer without"):
        {**MESSAGES, **ADMIN}[use](provider, name, [])


@pytest.mark.parametrize("use", ["extend", "ack", "release", "send"])
@pytest.mark.parametrize("body", [b"{}", b'{"Successful": [{"Id": "7"}]}', b'{"Failed": null}'])
def test_a_batch_of_which_nothing_is_said_has_failed(
    way: Portal, provider: SqsProvider, name: str, use: str, body: bytes
) -> None:
    provider.queue(name).send(numbers(2))
    held = take(provider.queue(name), 2)
    way.answer, way.only = (200, JSON, body), REQUESTS[use]
    failures: object = MESSAGES[use](provider, name, held)
    assert isinstance(failures, list)
    assert [(failure.index, failure.lost) for failure in failures] == [(0, False), (1, False)]
    assert "is no SQS" in failures[0].reason


@pytest.mark.parametrize(
    "message", [b'{"Body": "x"}', b'{"MessageId": "1", "Body": "x"}', b'{"ReceiptHandle": "r"}']
)
def test_a_message_without_its_parts_is_none(
    way: Portal, provider: SqsProvider, name: str, message: bytes
) -> None:
    way.answer, way.only = (200, JSON, b'{"Messages": [%b]}' % message), "ReceiveMessage"
    with pytest.raises(QueueUnavailableError, match="a message without"):
        provider.queue(name).receive(1, wait=0, lease=LONG)


@pytest.mark.parametrize("use", ["receive", "ack", "send"])
def test_it_is_tried_again_with_one_line_until_the_way_is_free(
    way: Portal, provider: SqsProvider, name: str, use: str
) -> None:
    provider.queue(name).send(numbers(1))
    said: list[str] = []

    def free(line: str) -> None:
        said.append(line)
        way.answer = None

    queue = with_retries(provider.queue(name), threading.Event(), notify=free)
    held = queue.receive(1, wait=2, lease=LONG) if use == "ack" else []
    way.answer = HTML
    if use == "receive":
        assert len(queue.receive(1, wait=2, lease=LONG)) == 1
    elif use == "ack":
        assert queue.ack(held) == []
        assert provider.queue(name).backlog().messages == 0
    else:
        assert queue.send(numbers(1)) == []
    (line,) = said
    for words in (f"{use} fails", "trying again", "is no SQS", "login page", "text/html"):
        assert words in line
