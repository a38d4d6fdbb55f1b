"""Test that a provider's queues keep the contract of ``MessageQueue`` and ``QueueAdmin``.

To test your own provider, write::

    class TestMine(QueueContract):
        honours_delay = True

        @pytest.fixture
        def new_provider(self):
            return lambda: MyProvider(endpoint_url="http://127.0.0.1:1234")

Each call of ``new_provider`` stands for another worker. Each test creates and deletes a queue.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from cloud_tasks.queues.base import MessageQueue, dead_name
from cloud_tasks.testing import eventually
from cloud_tasks.testing.queue_harness import LONG, SOON, NewProvider, arrivals, put, take
from cloud_tasks.testing.queue_requests import QueueRequests

BODIES = [
    "{}",
    json.dumps({"task_id": "täsk-1", "data": {"a": [1, 2.5, None], "quote": '"', "nul": "\0"}}),
    json.dumps({"name": "Ωμέγα 木 😀 \u2028"}, ensure_ascii=False),
    ' &lt;b&gt; <![CDATA[x]]> % + = \\ \t two\nlines, "quoted" ',
    "x" * 200_000,
]


class QueueContract(QueueRequests):
    """The suite; needs the fixture ``new_provider``.

    A subclass declares what the provider can't do by the attributes of
    :class:`~cloud_tasks.testing.queue_harness.QueueHarness`; the tests of that are skipped.
    """

    def test_what_was_sent_is_received(self, queue: MessageQueue, other: MessageQueue) -> None:
        put(queue, ["a", "b", "c"])
        assert sorted(m.body for m in take(other, 3)) == [b"a", b"b", b"c"]

    @pytest.mark.parametrize("body", BODIES, ids=["empty", "escapes", "unicode", "marks", "long"])
    def test_a_body_comes_back_byte_for_byte(self, queue: MessageQueue, body: str) -> None:
        if len(body.encode()) > queue.limits.message_bytes:
            pytest.skip("the provider's messages are smaller")
        put(queue, [body])
        assert take(queue, 1)[0].body == body.encode()

    def test_an_empty_receive_is_an_empty_list(self, queue: MessageQueue) -> None:
        assert queue.receive(5, wait=0.0, lease=LONG) == []
        began = time.monotonic()
        assert queue.receive(5, wait=3.0, lease=LONG) == []
        # A queue that returns much too early causes many requests a day in vain.
        assert min(1.5, queue.limits.longest_wait) <= time.monotonic() - began < 3.0 + SOON

    def test_a_waiting_receive_gets_a_message_as_soon_as_it_is_sent(
        self, queue: MessageQueue, other: MessageQueue
    ) -> None:
        wait = queue.limits.longest_wait
        if wait < 10:
            pytest.skip("the provider can't wait for a message")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(queue.receive, 1, wait=wait, lease=LONG)
            eventually(lambda: queue.requests["receive"], what="a request is counted when made")
            put(other, ["now"])
            assert [m.body for m in waiting.result(wait / 2)] == [b"now"]

    def test_receive_never_gives_more_than_asked_or_allowed(self, queue: MessageQueue) -> None:
        n = self._more_than(queue.limits.receive)
        put(queue, ["x"] * n)
        for asked, most in ((2, 2), (n + 9, queue.limits.receive)):
            # An empty list is an ordinary answer of a busy server.
            some = eventually(partial(queue.receive, asked, wait=5.0, lease=LONG), SOON)
            assert len(some) <= most

    def test_a_message_is_hidden_while_its_lease_lasts(
        self, queue: MessageQueue, other: MessageQueue
    ) -> None:
        put(queue, ["a"])
        take(queue, 1)
        assert arrivals(other, 1, within=1.0) == []

    def test_an_expired_lease_gives_the_message_to_another(
        self, queue: MessageQueue, other: MessageQueue
    ) -> None:
        put(queue, ["a"])
        began = time.monotonic()
        (first,) = take(queue, 1, lease=self.lease)
        (second,) = arrivals(other, 1, within=self.lease + SOON)
        if self.exact_leases:
            assert time.monotonic() - began >= 0.9 * self.lease
        assert (second.message_id, second.body) == (first.message_id, first.body)
        assert other.ack([second]) == []

    def test_extending_keeps_it_hidden_and_acking_for_ever(
        self, queue: MessageQueue, other: MessageQueue
    ) -> None:
        _, acked_for = self._in_time(queue, queue.ack)
        held, held_for = self._in_time(queue, lambda messages: queue.extend(messages, LONG))
        assert arrivals(other, 1, within=1.2 * max(acked_for, held_for)) == []
        assert queue.release([held]) == []
        assert [m.message_id for m in take(other, 1)] == [held.message_id]

    def test_extending_by_more_than_is_possible_holds_as_long_as_it_can(
        self, queue: MessageQueue
    ) -> None:
        put(queue, ["a"])
        assert queue.extend(take(queue, 1), 10.0 * queue.limits.max_lease) == []

    def test_released_messages_are_visible_at_once(
        self, queue: MessageQueue, other: MessageQueue
    ) -> None:
        put(queue, ["a", "b", "c"])
        held = take(queue, 3)
        assert queue.release(held[:2]) == []
        second = take(other, 2)
        assert {m.message_id for m in second} == {m.message_id for m in held[:2]}
        assert arrivals(other, 1, within=0.5) == []

    def test_a_delayed_release_keeps_it_back(
        self, queue: MessageQueue, other: MessageQueue
    ) -> None:
        if not self.honours_delay:
            pytest.skip("the provider can't delay")
        put(queue, ["a"])
        held = take(queue, 1)
        began = time.monotonic()
        assert queue.release(held, delay=3.0) == []
        take(other, 1)
        assert time.monotonic() - began >= 2.0

    def test_settling_what_is_gone_is_a_loss_at_most(self, queue: MessageQueue) -> None:
        put(queue, ["a"])
        held = take(queue, 1)
        assert queue.ack(held) == []
        failures = [*queue.ack(held), *queue.extend(held, LONG), *queue.release(held)]
        assert all(failure.lost and failure.index == 0 for failure in failures)

    @pytest.mark.parametrize("how", ["ack", "extend", "release"])
    def test_settling_a_lost_delivery_takes_nothing_from_another(
        self, queue: MessageQueue, other: MessageQueue, how: str
    ) -> None:
        if not self.guards_lost_leases:
            pytest.skip("the provider lets a lost delivery be settled")
        put(queue, ["a"])
        lost = take(queue, 1)
        queue.release(lost)
        held = take(other, 1)
        if how == "ack":
            failures = queue.ack(lost)
        elif how == "release":
            failures = queue.release(lost)
        else:  # this must not shorten the other's lease
            failures = queue.extend(lost, self.lease)
        assert all(failure.lost for failure in failures)
        assert arrivals(queue, 1, within=1.2 * self.lease if how == "extend" else 1.0) == []
        other.release(held)
        take(queue, 1)

    def test_the_backlog_holds_what_others_hold_until_it_is_deleted(
        self, queue: MessageQueue, other: MessageQueue
    ) -> None:
        if not self.counts_backlog:
            pytest.skip("the provider can't count")

        def left() -> bool:
            count = queue.backlog().messages
            assert count is not None
            return count > 0

        eventually(lambda: not left(), SOON, what="a new queue is empty")
        put(queue, ["a", "b"])
        eventually(left, SOON, what="the messages are counted")
        held = take(other, 2)
        assert other.ack(held[:1]) == []
        assert left()
        if self.honours_delay:
            assert other.release(held[1:], delay=3.0) == []
            assert left()
            held = [*held[:1], *take(other, 1)]
        assert other.ack(held[1:]) == []
        eventually(lambda: not left(), SOON, what="nothing is left")

    def test_attempts_are_counted(self, queue: MessageQueue) -> None:
        put(queue, ["a"])
        counted: list[int | None] = []
        for _ in range(3):
            held = take(queue, 1)
            counted.append(held[0].attempt)
            queue.release(held)
        assert counted == ([1, 2, 3] if self.counts_attempts else [None] * 3)

    def test_what_is_delivered_too_often_becomes_a_dead_letter(
        self, queue: MessageQueue, new_provider: NewProvider, name: str
    ) -> None:
        if not self.dead_letters:
            pytest.skip("the provider has no dead-letter queues")
        dead = new_provider().queue(dead_name(name))
        put(queue, ["poison"])
        for _ in range(5):
            queue.release(take(queue, 1))
        assert arrivals(queue, 1, within=1.0) == []
        assert [m.body for m in take(dead, 1)] == [b"poison"]
        dead.close()
