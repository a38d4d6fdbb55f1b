"""Test the requests of queues: their size, their errors, and the administration."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_tasks.errors import QueueMissingError
from cloud_tasks.queues.base import MessageQueue, Outgoing, QueueAdmin, QueueSpec
from cloud_tasks.testing import eventually
from cloud_tasks.testing.queue_harness import (
    LONG,
    SOON,
    NewProvider,
    QueueHarness,
    arrivals,
    outgoing,
    put,
    take,
)

#: Requests of a worker to a queue that may not exist.
REQUESTS: dict[str, Callable[[MessageQueue], object]] = {
    "check": lambda queue: queue.check(),
    "receive": lambda queue: queue.receive(1, wait=0.0, lease=LONG),
    "send": lambda queue: queue.send(outgoing(["x"])),
}

#: Bytes that a test may send in all.
MANY_BYTES = 50_000_000


class QueueRequests(QueueHarness):
    """The tests about requests, as a part of the suite."""

    def test_a_check_tells_what_the_messages_will(self, queue: MessageQueue) -> None:
        info = queue.check()
        assert info.counts_attempts is self.counts_attempts
        assert info.lease is None or info.lease > 0

    def test_more_messages_than_a_request_takes_are_split(
        self, queue: MessageQueue, other: MessageQueue
    ) -> None:
        limits = queue.limits
        n = self._more_than(max(limits.send, limits.settle))
        put(queue, [f"{i}" for i in range(n)])
        held = take(queue, n)
        assert queue.extend(held, LONG) == []
        assert queue.release(held) == []
        second = take(other, n)
        assert sorted(int(m.body) for m in second) == list(range(n))
        assert other.ack(second) == []
        assert arrivals(queue, 1, within=1.0) == []
        assert queue.requests["send"] >= math.ceil(n / limits.send)
        for requests in (queue.requests["extend"], queue.requests["release"]):
            assert requests >= math.ceil(n / limits.settle)
        assert other.requests["ack"] >= math.ceil(n / limits.settle)

    def test_more_bytes_than_a_request_takes_are_split(self, queue: MessageQueue) -> None:
        limits = queue.limits
        size = min(limits.message_bytes, limits.request_bytes * 3 // 5)
        n = limits.request_bytes // size + 1
        if n > self.most or n * size > MANY_BYTES:
            pytest.skip("the provider's requests are larger than what a test may send")
        bodies = [f"{i:04}".encode().ljust(size, b".") for i in range(n)]
        put(queue, bodies)
        assert sorted(m.body for m in take(queue, n)) == bodies

    def test_too_large_a_body_is_a_failure_of_that_one_message(self, queue: MessageQueue) -> None:
        failures = queue.send(outgoing(["a", "x" * (queue.limits.message_bytes + 1), "c"]))
        assert [(failure.index, failure.lost) for failure in failures] == [(1, True)]
        assert failures[0].reason
        assert sorted(m.body for m in take(queue, 2)) == [b"a", b"c"]

    def test_a_failure_tells_the_place_in_the_callers_sequence(self, queue: MessageQueue) -> None:
        n = self._more_than(queue.limits.send)
        bodies = ["x"] * (n - 1) + ["x" * (queue.limits.message_bytes + 1)]
        assert [failure.index for failure in queue.send(outgoing(bodies))] == [n - 1]

    def test_nothing_is_done_for_nothing(self, queue: MessageQueue) -> None:
        assert [*queue.send([]), *queue.ack([]), *queue.extend([], LONG), *queue.release([])] == []
        assert not queue.requests

    def test_a_second_message_of_the_same_key_is_dropped(self, queue: MessageQueue) -> None:
        if not self.drops_repeats:
            pytest.skip("the provider can't tell repeats")
        key = uuid.uuid4().hex
        assert queue.send([Outgoing(b"once", key), Outgoing(b"other", key + "-2")]) == []
        assert queue.send([Outgoing(b"once", key)]) == []
        assert sorted(m.body for m in take(queue, 2)) == [b"once", b"other"]
        assert arrivals(queue, 1, within=1.0) == []

    def test_requests_are_counted_by_operation(self, queue: MessageQueue) -> None:
        queue.check()
        put(queue, ["a"])
        held = take(queue, 1)
        queue.extend(held, LONG)
        queue.release(held)
        queue.ack(take(queue, 1))
        assert set(queue.requests) >= {"check", "send", "receive", "extend", "release", "ack"}

    def test_threads_can_use_one_queue_at_once(self, queue: MessageQueue) -> None:
        seen: list[bytes] = []
        complete = threading.Event()
        expected = sorted(f"{i}".encode() for i in range(20))

        def send(start: int) -> None:
            for i in range(start, start + 10):
                put(queue, [f"{i}"])

        def receive(_: int) -> None:
            while not complete.is_set():
                held = queue.receive(3, wait=1.0, lease=LONG)
                assert queue.ack(held) == []
                seen.extend(m.body for m in held)

        with ThreadPoolExecutor(4) as pool:
            work = [pool.submit(do, n) for do in (send, receive) for n in (0, 10)]
            try:
                eventually(lambda: len(seen) >= 20, 2 * SOON, what="all messages")
            finally:
                complete.set()
            for future in work:
                future.result(SOON)
        assert sorted(seen) == expected

    def test_closing_twice_is_harmless(self, new_provider: NewProvider, name: str) -> None:
        unused = new_provider().queue(name)
        unused.close()
        unused.close()

    def test_closing_twice_after_use_is_harmless(self, queue: MessageQueue) -> None:
        queue.check()
        queue.close()
        queue.close()

    @pytest.mark.parametrize("operation", REQUESTS)
    def test_a_queue_that_is_not_there_is_named(
        self, new_provider: NewProvider, name: str, operation: str
    ) -> None:
        queue = new_provider().queue(name)
        with pytest.raises(QueueMissingError, match=name):
            REQUESTS[operation](queue)
        queue.close()

    def test_a_queue_that_was_deleted_is_missed(
        self, queue: MessageQueue, admin: QueueAdmin
    ) -> None:
        queue.check()
        assert admin.delete()
        with pytest.raises(QueueMissingError):
            eventually(lambda: queue.check() is None, SOON, what="the queue is gone")

    def test_what_is_not_there_can_be_neither_emptied_nor_deleted(
        self, new_provider: NewProvider, name: str
    ) -> None:
        admin = new_provider().admin(name)
        assert admin.delete() is False
        for request in (admin.purge, admin.depth):
            with pytest.raises(QueueMissingError, match=name):
                request()

    def test_making_it_twice_leaves_it_as_it_is(
        self, queue: MessageQueue, admin: QueueAdmin
    ) -> None:
        put(queue, ["a"])
        assert admin.create(QueueSpec(lease=90)) is False
        take(queue, 1)

    def test_its_depth_is_told_without_touching_the_messages(
        self, queue: MessageQueue, admin: QueueAdmin
    ) -> None:
        put(queue, ["a", "b", "c"])
        eventually(lambda: admin.depth().visible in (None, 3), what="three are visible")
        held = take(queue, 3)
        assert {m.attempt for m in held} <= {None, 1}
        eventually(lambda: admin.depth().in_flight in (None, 3), what="three are held")

    def test_a_purged_queue_is_empty_and_goes_on(
        self, queue: MessageQueue, admin: QueueAdmin
    ) -> None:
        put(queue, ["old", "old"])
        admin.purge()

        def fresh() -> list[bytes]:
            put(queue, ["fresh"])
            return [m.body for m in arrivals(queue, 1, within=1.0)]

        assert set(eventually(fresh, 65.0, what="a fresh message")) == {b"fresh"}
