"""Fake the queues of a provider in memory; a test can make their requests fail.

::

    server = FakeServer()
    provider = FakeProvider(server)
    provider.admin("jobs").create(QueueSpec())
    provider.queue("jobs").send([Outgoing(b"{}", "1")])
    server.stored("jobs").refuse("receive", 3, QueueUnavailableError("not now"))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from cloud_tasks.errors import QueueUnavailableError
from cloud_tasks.queues.base import (
    Backlog,
    Depth,
    Failure,
    Message,
    MessageQueue,
    Outgoing,
    QueueAdmin,
    QueueInfo,
    QueueProvider,
    QueueSpec,
)
from cloud_tasks.testing.fake_server import LIMITS, Copy, FakeServer, Fault, Stored

__all__ = ["FakeAdmin", "FakeProvider", "FakeQueue", "FakeServer", "Stored"]

T = TypeVar("T")


class FakeQueue(MessageQueue):
    """A queue of *server*."""

    def __init__(self, name: str, server: FakeServer, *, drops_repeats: bool = False) -> None:
        super().__init__(name)
        self.limits = server.limits
        self.closed = False
        self._server = server
        self._drops_repeats = drops_repeats

    def check(self) -> QueueInfo:
        return self._request("check", lambda stored: QueueInfo(self._server.counts_attempts))

    def receive(self, n: int, *, wait: float, lease: float) -> list[Message]:
        deadline = time.monotonic() + min(wait, self.limits.longest_wait)
        n = min(n, self.limits.receive)

        def deliver(stored: Stored) -> list[Message]:
            while not (taken := self._deliver(stored, n, lease)):
                left = deadline - time.monotonic()
                if left <= 0 or self.closed:
                    break
                # Short, because a fake clock that ends a lease wakes no thread.
                self._server.changed.wait(min(left, 0.01))
            return taken

        return self._request("receive", deliver)

    def _deliver(self, stored: Stored, n: int, lease: float) -> list[Message]:
        now = self._server.clock.monotonic()
        taken: list[Message] = []
        for held in [c for c in stored.copies if c.hidden_until <= now]:
            dead = self._server.queues.get(stored.spec.dead_letter or "")
            if dead is not None and held.attempt >= stored.spec.max_deliveries:
                stored.copies.remove(held)
                dead.copies.append(Copy(held.message_id, held.body, held.key))
            elif len(taken) < n:
                held.attempt += 1
                held.hidden_until = now + lease
                held.handle = next(self._server.numbers)
                attempt = held.attempt if self._server.counts_attempts else None
                taken.append(Message(held.message_id, held.body, held.handle, attempt))
        return taken

    def extend(self, messages: Sequence[Message], seconds: float) -> list[Failure]:
        until = min(max(seconds, self.limits.min_lease), self.limits.max_lease)
        return self._settle("extend", messages, lambda stored, held: self._hide(held, until))

    def ack(self, messages: Sequence[Message]) -> list[Failure]:
        return self._settle("ack", messages, lambda stored, held: stored.copies.remove(held))

    def release(self, messages: Sequence[Message], *, delay: float = 0.0) -> list[Failure]:
        def give_back(stored: Stored, held: Copy) -> None:
            self._hide(held, delay)
            held.handle = 0

        return self._settle("release", messages, give_back)

    def _hide(self, held: Copy, seconds: float) -> None:
        held.hidden_until = self._server.clock.monotonic() + seconds

    def _settle(
        self, operation: str, messages: Sequence[Message], do: Callable[[Stored, Copy], None]
    ) -> list[Failure]:
        def one(stored: Stored, index: int) -> Failure | None:
            now = self._server.clock.monotonic()
            for held in stored.copies:
                if held.handle == messages[index].handle and held.hidden_until > now:
                    do(stored, held)
                    return None
            gone = messages[index].message_id not in {c.message_id for c in stored.copies}
            if gone and operation == "ack":
                return None
            return Failure(index, "the lease is over", lost=True)

        return self._each(operation, len(messages), self.limits.settle, one)

    def send(self, messages: Sequence[Outgoing]) -> list[Failure]:
        def one(stored: Stored, index: int) -> Failure | None:
            message = messages[index]
            if len(message.body) > self.limits.message_bytes:
                reason = f"{len(message.body)} bytes are over {self.limits.message_bytes}"
                return Failure(index, reason, lost=True)
            if not (self._drops_repeats and message.key in stored.keys):
                number = next(self._server.numbers)
                stored.copies.append(Copy(f"m{number}", message.body, message.key))
            stored.keys.add(message.key)
            return None

        return self._each("send", len(messages), self.limits.send, one)

    def _each(
        self, operation: str, n: int, size: int, one: Callable[[Stored, int], Failure | None]
    ) -> list[Failure]:
        """Call *one* for each index below *n*, in requests of *size*."""
        failures: list[Failure] = []

        def some(stored: Stored, indexes: range) -> None:
            fault = stored.failures.get(operation, Fault(0))
            for index in indexes:
                if fault.failure is not None and fault.take():
                    failures.append(Failure(index, fault.failure.reason, fault.failure.lost))
                elif (failure := one(stored, index)) is not None:
                    failures.append(failure)

        for start in range(0, n, size):
            self._request(operation, partial(some, indexes=range(start, min(start + size, n))))
        return failures

    def backlog(self) -> Backlog:
        return self._request("backlog", lambda stored: Backlog(sum(stored.split()), exact=True))

    def close(self) -> None:
        with self._server.changed:
            self.closed = True
            self._server.changed.notify_all()

    def _request(self, operation: str, do: Callable[[Stored], T]) -> T:
        self._count(operation)
        if self.closed:
            raise QueueUnavailableError(f"{self} was closed")
        error = self._server.trouble and self._server.trouble(self.name, operation)
        if error:
            raise error
        with self._server.changed:
            stored = self._server.stored(self.name)
            stored.refusals.get(operation, Fault(0)).strike()
            answer = do(stored)
            self._server.changed.notify_all()
            stored.dropped.get(operation, Fault(0)).strike()
        return answer


class FakeAdmin(QueueAdmin):
    """The administration of a queue of *server*."""

    def __init__(self, name: str, server: FakeServer) -> None:
        super().__init__(name)
        self._server = server

    def create(self, spec: QueueSpec) -> bool:
        with self._server.changed:
            if self.name in self._server.queues:
                return False
            self._server.queues[self.name] = Stored(self._server, spec)
            return True

    def depth(self) -> Depth:
        visible, hidden = self._server.stored(self.name).split()
        return Depth(visible, hidden, exact=True)

    def creation(self) -> str:
        return self._server.stored(self.name).creation

    def purge(self) -> None:
        with self._server.changed:
            self._server.stored(self.name).copies.clear()

    def delete(self) -> bool:
        with self._server.changed:
            return self._server.queues.pop(self.name, None) is not None


class FakeProvider(QueueProvider):
    """The queues of *server*, or of a new one; ``exactly_once`` drops repeats by key."""

    limits = LIMITS

    def __init__(self, server: FakeServer | None = None, *, exactly_once: bool = False) -> None:
        super().__init__(exactly_once=exactly_once)
        self.server = server or FakeServer()

    def queue(self, name: str) -> FakeQueue:
        return FakeQueue(name, self.server, drops_repeats=self.exactly_once)

    def admin(self, name: str) -> FakeAdmin:
        return FakeAdmin(name, self.server)
