"""Names that a provider takes for all queues of a job."""

from __future__ import annotations

import pytest

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.queues.base import QueueProvider
from cloud_tasks.queues.job import JobQueues
from cloud_tasks.queues.pubsub.provider import PubSubProvider
from cloud_tasks.queues.sqs.provider import SqsProvider

SQS, FIFO = SqsProvider(), SqsProvider(exactly_once=True)
PUBSUB = PubSubProvider(project_id="p")


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (SQS, "a"),
        (SQS, "a" * 73),
        (SQS, "job.fifo"),
        (SQS, "1-job_2"),
        (FIFO, "a" * 68),
        (FIFO, "a" * 68 + ".fifo"),
        (PUBSUB, "a"),
        (PUBSUB, "a" * 235),
        (PUBSUB, "Job.1_2~3+4%5-6"),
    ],
)
def test_names_that_all_three_queues_can_have(provider: QueueProvider, name: str) -> None:
    JobQueues("X", provider, name).check_names()


@pytest.mark.parametrize(
    ("provider", "name", "problem"),
    [
        (SQS, "a" * 74, "events has 81 characters, and SQS allows 80"),
        (SQS, "a" * 81, "tasks has 81 characters"),
        (FIFO, "a" * 69, "events has 81 characters"),
        (SQS, "a.b", "other characters"),
        (SQS, "a b", "other characters"),
        (SQS, "jöb", "other characters"),
        (SQS, "a/b", "other characters"),
        (SQS, "a\n", "other characters"),
        (PUBSUB, "a" * 236, "events has 256 characters, and Pub/Sub allows 255"),
        (PUBSUB, "1a", "begin with a letter"),
        (PUBSUB, "goog-job", "begins with 'goog'"),
        (PUBSUB, "jöb", "other characters"),
        (PUBSUB, "a/b", "other characters"),
    ],
)
def test_names_that_one_of_them_can_not_have(
    provider: QueueProvider, name: str, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match="give another --queue-name") as raised:
        JobQueues("X", provider, name).check_names()
    assert problem in str(raised.value)
