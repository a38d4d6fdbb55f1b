"""Tasks in a queue, of every provider, keep the promises of a source."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from servers.pubsub import PubSubEmulator

from cloud_tasks.clock import Clock
from cloud_tasks.queues.base import Outgoing, QueueProvider, QueueSpec, dead_name
from cloud_tasks.queues.pubsub.provider import PubSubProvider
from cloud_tasks.queues.retrying import RetryingQueue
from cloud_tasks.queues.sqs.provider import SqsProvider
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.cloud_queue.prefetch import PrefetchPolicy
from cloud_tasks.sources.cloud_queue.settler import Settler
from cloud_tasks.sources.cloud_queue.source import QueueSource
from cloud_tasks.task import Task
from cloud_tasks.testing.fake_queue import FakeProvider
from cloud_tasks.testing.source_contract import SourceContract


class QueueSourceContract(SourceContract):
    keeps_order = False
    thirteenth = "message "
    #: Seconds after which an empty queue ends the source.
    idle = 1.0

    @pytest.fixture(autouse=True)
    def _use(self, provider: QueueProvider) -> None:
        self._queues = provider

    def source(self, tasks: Sequence[Task], directory: Path, bad_before: int = -1) -> TaskSource:
        bodies = [json.dumps({"task_id": t.task_id, "data": dict(t.data)}) for t in tasks]
        if bad_before >= 0:
            bodies.insert(bad_before, '"bad"')
        name = f"jobs-{uuid.uuid4().hex[:12]}"
        dead = dead_name(name)
        self._queues.admin(dead).create(QueueSpec())
        self._queues.admin(name).create(QueueSpec(dead_letter=dead))
        queue = self._queues.queue(name)
        letters = [Outgoing(body.encode(), f"k{n}") for n, body in enumerate(bodies)]
        assert queue.send(letters) == []
        draining, ending = threading.Event(), threading.Event()
        return QueueSource(
            RetryingQueue(queue, stop=draining),
            Settler(
                RetryingQueue(queue, stop=ending),
                RetryingQueue(self._queues.queue(dead), stop=ending),
                stop=ending,
                clock=Clock(),
            ),
            lease=60.0,
            policy=PrefetchPolicy(1000, lambda: None, idle=self.idle),
            stop=draining,
            clock=Clock(),
        )

    def slow_source(
        self, first: Task, directory: Path
    ) -> tuple[TaskSource, Callable[[], None], Callable[[], None]]:
        def nothing() -> None:
            """Nobody feeds a queue that has what it needs."""

        return self.source([first], directory), nothing, nothing


class TestFake(QueueSourceContract):
    idle = 0.3

    @pytest.fixture
    def provider(self) -> QueueProvider:
        return FakeProvider()


class TestSqs(QueueSourceContract):
    @pytest.fixture
    def provider(self, moto_url: str, aws_env: object) -> QueueProvider:
        return SqsProvider(endpoint_url=moto_url)


@pytest.mark.slow
class TestSqsFifo(QueueSourceContract):
    @pytest.fixture
    def provider(self, moto_url: str, aws_env: object) -> QueueProvider:
        return SqsProvider(endpoint_url=moto_url, exactly_once=True)


@pytest.mark.slow
class TestPubSub(QueueSourceContract):
    idle = 2.5  # longer than the first pull takes at most: one that got no answer ends nothing

    @pytest.fixture
    def provider(self, pubsub_emulator: PubSubEmulator) -> QueueProvider:
        project = pubsub_emulator.new_project()
        return PubSubProvider(project_id=project, endpoint_url=pubsub_emulator.address)


@pytest.mark.slow
class TestPubSubExactlyOnce(QueueSourceContract):
    idle = TestPubSub.idle

    @pytest.fixture
    def provider(self, pubsub_emulator: PubSubEmulator) -> QueueProvider:
        project, address = pubsub_emulator.new_project(), pubsub_emulator.address
        return PubSubProvider(project_id=project, endpoint_url=address, exactly_once=True)
