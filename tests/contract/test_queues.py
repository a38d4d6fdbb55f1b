"""Every provider's queues keep the promises of a queue."""

from __future__ import annotations

import pytest
from servers.pubsub import PubSubEmulator

from cloud_tasks.queues.pubsub.provider import PubSubProvider
from cloud_tasks.queues.sqs.provider import SqsProvider
from cloud_tasks.testing.fake_queue import FakeProvider, FakeServer
from cloud_tasks.testing.queue_contract import QueueContract
from cloud_tasks.testing.queue_harness import NewProvider


class TestFake(QueueContract):
    honours_delay = True
    lease = 0.5

    @pytest.fixture
    def new_provider(self) -> NewProvider:
        server = FakeServer()
        return lambda: FakeProvider(server)


class TestFakeThatKnowsRepeats(TestFake):
    drops_repeats = True
    counts_attempts = False

    @pytest.fixture
    def new_provider(self) -> NewProvider:
        server = FakeServer(counts_attempts=False)
        return lambda: FakeProvider(server, exactly_once=True)


class TestSqs(QueueContract):
    guards_lost_leases = False  # moto lets every delivery settle its message for ever
    honours_delay = True

    @pytest.fixture
    def new_provider(self, moto_url: str, aws_env: object) -> NewProvider:
        return lambda: SqsProvider(endpoint_url=moto_url)


@pytest.mark.slow
class TestSqsFifo(TestSqs):
    drops_repeats = True

    @pytest.fixture
    def new_provider(self, moto_url: str, aws_env: object) -> NewProvider:
        return lambda: SqsProvider(endpoint_url=moto_url, exactly_once=True)


@pytest.mark.slow
class TestPubSub(QueueContract):
    guards_lost_leases = True
    honours_delay = True
    lease = 10.0
    most = 1100

    @pytest.fixture
    def new_provider(self, pubsub_emulator: PubSubEmulator) -> NewProvider:
        project = pubsub_emulator.new_project()
        return lambda: PubSubProvider(project_id=project, endpoint_url=pubsub_emulator.address)


@pytest.mark.slow
class TestPubSubExactlyOnce(TestPubSub):
    @pytest.fixture
    def new_provider(self, pubsub_emulator: PubSubEmulator) -> NewProvider:
        project, address = pubsub_emulator.new_project(), pubsub_emulator.address
        return lambda: PubSubProvider(project_id=project, endpoint_url=address, exactly_once=True)
