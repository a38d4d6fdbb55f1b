"""The three queues of a job."""

from __future__ import annotations

import pytest

from cloud_tasks.errors import QueueMissingError
from cloud_tasks.queues.base import Outgoing, QueueSpec
from cloud_tasks.queues.job import JobQueues
from cloud_tasks.testing.fake_queue import FakeProvider


@pytest.fixture
def job() -> JobQueues:
    """A job whose dead-letter queue is missing, with one task."""
    job = JobQueues("FAKE", FakeProvider(), "moon")
    for name in ("moon", "moon-events"):
        job.provider.admin(name).create(QueueSpec())
    job.provider.queue("moon").send([Outgoing(b"{}", "1")])
    return job


def test_each_depth_is_told_and_a_missing_queue_is_none(job: JobQueues) -> None:
    depths = job.depths()
    assert list(depths) == ["moon", "moon-events", "moon-dead"]
    assert depths["moon"] is not None
    assert depths["moon"].visible == 1
    assert depths["moon-dead"] is None


def test_a_purge_says_which_queues_there_were(job: JobQueues) -> None:
    assert job.purge(["moon", "moon-dead"]) == {"moon": True, "moon-dead": False}
    depth = job.depths()["moon"]
    assert depth is not None
    assert depth.visible == 0


def test_a_deletion_says_which_queues_there_were(job: JobQueues) -> None:
    assert job.delete(["moon", "moon-dead"]) == {"moon": True, "moon-dead": False}
    assert job.depths()["moon"] is None


def test_a_job_without_any_queue_is_an_error() -> None:
    job = JobQueues("FAKE", FakeProvider(), "moon")
    for request in (job.depths, lambda: job.purge(["moon"])):
        with pytest.raises(QueueMissingError):
            request()
