from __future__ import annotations

import pytest

from cloud_tasks.queues.base import dead_name, events_name
from cloud_tasks.queues.sqs.names import message_key, sqs_name
from cloud_tasks.queues.sqs.provider import SqsProvider


@pytest.mark.parametrize("name", ["job", "job-events", "job-dead", "events", "a-events-b"])
def test_a_standard_queue_keeps_its_name(name: str) -> None:
    assert sqs_name(name, fifo=False) == name


@pytest.mark.parametrize("fifo", [True, False])
@pytest.mark.parametrize(
    ("name", "in_sqs"),
    [
        ("job.fifo", "job.fifo"),
        ("job.fifo-events", "job-events.fifo"),
        ("job.fifo-dead", "job-dead.fifo"),
        ("job-events.fifo", "job-events.fifo"),
        ("job-dead.fifo", "job-dead.fifo"),
    ],
)
def test_a_fifo_queues_ending_comes_last(name: str, in_sqs: str, fifo: bool) -> None:
    assert sqs_name(name, fifo=fifo) == in_sqs


@pytest.mark.parametrize("name", ["job", "job-events", "job-dead"])
def test_exactly_once_adds_the_ending(name: str) -> None:
    assert sqs_name(name, fifo=True) == f"{name}.fifo"


@pytest.mark.parametrize("kind", [events_name, dead_name])
@pytest.mark.parametrize("name", ["job", "job.fifo"])
def test_the_name_in_sqs_leads_to_the_same_neighbours(name: str, kind: object) -> None:
    assert callable(kind)
    provider = SqsProvider(exactly_once=True)
    queue = provider.queue(name)
    assert provider.queue(kind(queue.name)).name == provider.queue(kind(name)).name
    assert provider.admin(queue.name).name == queue.name == "job.fifo"


@pytest.mark.parametrize("key", ["a", "task-1", "a/b:c.d~", "x" * 128])
def test_a_key_that_sqs_takes_stays(key: str) -> None:
    assert message_key(key) == key


@pytest.mark.parametrize("key", ["two words", "täsk", "x" * 129, "a\n", "\ud800"])
def test_any_other_key_becomes_one_that_differs(key: str) -> None:
    assert message_key(key) != message_key(key + "1")
    assert message_key(message_key(key)) == message_key(key)
