"""Create queues for a test, and use them in few words."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import pytest

from cloud_tasks.queues.base import (
    Failure,
    Message,
    MessageQueue,
    Outgoing,
    QueueAdmin,
    QueueProvider,
    QueueSpec,
    dead_name,
)

NewProvider: TypeAlias = Callable[[], QueueProvider]

#: Seconds within which a server on this machine must have answered, however busy that is.
SOON = 15.0
#: Seconds of a lease that must not end while a test goes on.
LONG = 60.0


def outgoing(bodies: Sequence[str | bytes]) -> list[Outgoing]:
    """Return messages with *bodies*, each with a new key."""
    encoded = [body.encode() if isinstance(body, str) else body for body in bodies]
    return [Outgoing(body, uuid.uuid4().hex) for body in encoded]


def put(queue: MessageQueue, bodies: Sequence[str | bytes]) -> None:
    """Send *bodies*, and check that all are accepted."""
    assert queue.send(outgoing(bodies)) == []


def arrivals(
    queue: MessageQueue, n: int, *, within: float = SOON, lease: float = LONG
) -> list[Message]:
    """Receive until there are *n* messages or *within* seconds are over; at least once."""
    arrived: list[Message] = []
    deadline = time.monotonic() + within
    left = within
    while len(arrived) < n and left > 0:
        wait = min(left, queue.limits.longest_wait, 5.0)
        arrived += queue.receive(n - len(arrived), wait=wait, lease=lease)
        if not arrived and not queue.limits.longest_wait:
            time.sleep(0.05)  # it can't wait by itself
        left = deadline - time.monotonic()
    return arrived


def take(queue: MessageQueue, n: int, *, lease: float = LONG) -> list[Message]:
    """Receive *n* messages, and check that there are as many."""
    arrived = arrivals(queue, n, lease=lease)
    assert len(arrived) == n
    return arrived


class QueueHarness:
    """The base of the suites: the provider's abilities, and fixtures for queues."""

    #: Messages have the number of their delivery.
    counts_attempts = True
    #: A second message of the same key is dropped.
    drops_repeats = False
    #: No other receiver gets a message before its lease is over.
    exact_leases = True
    #: Settling a delivery whose message was delivered again does nothing to the newer delivery.
    guards_lost_leases = True
    #: ``release`` keeps a message back for the delay.
    honours_delay = False
    #: Messages that were delivered too often go to the dead-letter queue.
    dead_letters = True
    #: ``backlog`` knows the messages that are not deleted.
    counts_backlog = True
    #: Seconds of the leases that a test waits for; at least the provider's shortest.
    lease = 2.0
    #: Messages that a test may put into one queue.
    most = 50

    @pytest.fixture
    def new_provider(self) -> NewProvider:
        """Return a function that makes providers, one for each worker."""
        raise NotImplementedError("override new_provider in the subclass")

    @pytest.fixture
    def name(self) -> str:
        """Return a name that no queue has."""
        return f"contract-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def admin(self, new_provider: NewProvider, name: str) -> Iterator[QueueAdmin]:
        """Create a queue and its dead-letter queue, and delete them at the end."""
        provider = new_provider()
        dead, admin = provider.admin(dead_name(name)), provider.admin(name)
        dead.create(QueueSpec(lease=60))
        assert admin.create(QueueSpec(lease=60, dead_letter=dead_name(name), max_deliveries=5))
        yield admin
        admin.delete()
        dead.delete()

    @pytest.fixture
    def queue(
        self, new_provider: NewProvider, name: str, admin: QueueAdmin
    ) -> Iterator[MessageQueue]:
        """Return the queue as a worker sees it."""
        queue = new_provider().queue(name)
        yield queue
        queue.close()

    #: The same queue as another worker sees it.
    other = queue

    def _in_time(
        self, queue: MessageQueue, do: Callable[[list[Message]], list[Failure]]
    ) -> tuple[Message, float]:
        """Receive a new message for a short lease, and call *do* before the lease is over.

        Returns:
            The message, and the seconds of the lease.
        """
        lease = self.lease
        while True:
            put(queue, ["a"])
            began = time.monotonic()
            (held,) = take(queue, 1, lease=lease)
            failures = do([held])
            if time.monotonic() - began < lease:
                assert failures == []
                return held, lease
            # On a busy machine the lease may have been over by then, which proves nothing: a longer
            # one is tried next.
            queue.ack([held, *arrivals(queue, 1, within=lease + SOON)])
            lease *= 2

    def _more_than(self, limit: int) -> int:
        return min(limit + 3, self.most)
