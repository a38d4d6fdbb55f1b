"""A source over queues in memory, all of its parts real."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from cloud_tasks.clock import Clock
from cloud_tasks.queues.base import Outgoing, QueueSpec
from cloud_tasks.queues.retrying import Pauses, RetryingQueue
from cloud_tasks.sources.cloud_queue.prefetch import PrefetchPolicy
from cloud_tasks.sources.cloud_queue.settler import Settler
from cloud_tasks.sources.cloud_queue.source import QueueSource
from cloud_tasks.task import Delivery
from cloud_tasks.testing import eventually
from cloud_tasks.testing.fake_queue import FakeProvider, FakeServer, Stored
from cloud_tasks.testing.fake_server import LIMITS

NAME, DEAD = "jobs", "jobs-dead"
_PAUSES = Pauses(first=0.01, longest=0.05)


class LeaseClock(Clock):
    """A worker's clock that a test moves: leases end by it. All else goes by the machine's."""

    now = 1000.0

    def boot(self) -> float:
        return self.now


class ServersClock(Clock):
    """The server's clock, which is always right about leases."""

    def __init__(self, leases: LeaseClock) -> None:
        self._leases = leases

    def monotonic(self) -> float:
        return self._leases.now


class Bench:
    """The queues ``jobs`` and ``jobs-dead`` of a server of their own, and workers on them.

    The time by which leases end stands still until a test has some of it pass. On a busy machine
    a thread may be put aside for longer than any lease that a test would care to wait for.

    Args:
        real: it goes on as usual.
    """

    def __init__(self, *, real: bool = False) -> None:
        self._leases = LeaseClock()
        self.clock = Clock() if real else self._leases
        self.server = FakeServer(
            clock=Clock() if real else ServersClock(self._leases),
            # Real seconds: a source that closes waits for the request that is under way.
            limits=replace(LIMITS, longest_wait=0.1),
        )
        self.provider = FakeProvider(self.server)
        for name in (NAME, DEAD):
            self.provider.admin(name).create(QueueSpec())
        self.opened: list[QueueSource] = []
        self.mean_time: float | None = None

    @property
    def stored(self) -> Stored:
        return self.server.stored(NAME)

    def load(self, *data: dict[str, Any]) -> None:
        """Send tasks; they are named by their position."""
        self.send(*(json.dumps({"task_id": f"t{n}", "data": d}) for n, d in enumerate(data)))

    def send(self, *bodies: str) -> None:
        letters = [Outgoing(body.encode(), f"k{n}") for n, body in enumerate(bodies)]
        assert self.provider.queue(NAME).send(letters) == []

    def source(
        self,
        *,
        slots: int = 2,
        lease: float = 60.0,
        most: int | None = None,
        idle: float | None = None,
    ) -> QueueSource:
        """Make a worker's source; `closing` closes it."""
        draining, ending = threading.Event(), threading.Event()
        queue = self.provider.queue(NAME)
        self.requests = queue.requests
        dead = self.provider.queue(DEAD)
        source = QueueSource(
            RetryingQueue(queue, stop=draining, pauses=_PAUSES),
            Settler(
                RetryingQueue(queue, stop=ending, pauses=_PAUSES),
                RetryingQueue(dead, stop=ending, pauses=_PAUSES),
                stop=ending,
                clock=self.clock,
            ),
            lease=lease,
            policy=PrefetchPolicy(slots, lambda: self.mean_time, most, idle),
            stop=draining,
            clock=self.clock,
        )
        self.opened.append(source)
        source.open()
        return source

    def pass_time(self, seconds: float) -> None:
        """Let so much of every lease be over."""
        self._leases.now += seconds

    def live_on(self, seconds: float, lease: float) -> None:
        """Let time pass, and wait until all leases were extended to *lease* seconds from now."""
        self.pass_time(seconds)
        until = self._leases.now + lease
        eventually(
            lambda: {copy.hidden_until for copy in list(self.stored.copies)} == {until},
            what="all leases are extended",
        )

    def split(self) -> tuple[int, int]:
        """Return how many tasks are visible, and how many are with somebody."""
        return self.stored.split()

    def dead(self) -> list[bytes]:
        return [copy.body for copy in self.server.stored(DEAD).copies]

    def close(self) -> None:
        for source in self.opened:
            source.close()


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.task.task_id for delivery in deliveries]


def closing(bench: Bench) -> Iterator[Bench]:
    """Give *bench* to a test, and close its sources afterwards."""
    try:
        yield bench
    finally:
        bench.close()
