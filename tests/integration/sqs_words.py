"""Short words for tests that use a queue of SQS."""

from __future__ import annotations

import time

from cloud_tasks.queues.base import Message, Outgoing
from cloud_tasks.queues.sqs.queue import SqsQueue

#: Seconds of a lease that does not end in a test.
LONG = 60.0
#: Seconds within which what was sent must have come.
_SOON = 15.0


def outgoing(*bodies: str) -> list[Outgoing]:
    return [Outgoing(body.encode(), body) for body in bodies]


def numbers(n: int) -> list[Outgoing]:
    return outgoing(*(str(i) for i in range(n)))


def take(queue: SqsQueue, n: int) -> list[Message]:
    """Receive *n* messages, which must be there."""
    held: list[Message] = []
    deadline = time.monotonic() + _SOON
    while len(held) < n and time.monotonic() < deadline:
        held += queue.receive(n - len(held), wait=2, lease=LONG)
    assert len(held) == n
    return held


def bodies(messages: list[Message]) -> list[str]:
    return sorted((m.body.decode() for m in messages), key=lambda body: (len(body), body))
