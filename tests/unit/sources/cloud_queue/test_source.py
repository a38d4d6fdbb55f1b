"""What a worker holds of a queue, for how long, and what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from unit.sources.cloud_queue.queue_bench import Bench, closing, ids

from cloud_tasks.errors import (
    QueueError,
    QueueMissingError,
    QueueRefusedError,
    QueueUnavailableError,
)
from cloud_tasks.task import Batch, Delivery, Malformed
from cloud_tasks.testing import eventually
from cloud_tasks.testing.source_contract import receive as given


@pytest.fixture
def bench() -> Iterator[Bench]:
    yield from closing(Bench())


def test_tasks_come_with_their_attempt_and_are_gone_when_acknowledged(bench: Bench) -> None:
    bench.load({"n": 1}, {"n": 2})
    source = bench.source()
    deliveries = given(source, 2)
    assert ids(deliveries) == ["t0", "t1"]
    assert [delivery.attempt for delivery in deliveries] == [1, 1]
    assert deliveries[0].task.data == {"n": 1}
    source.ack(deliveries)
    assert bench.split() == (0, 0)


def test_what_is_released_comes_again_and_tells_so(bench: Bench) -> None:
    bench.load({})
    source = bench.source()
    source.release(given(source, 1))
    assert given(source, 1)[0].attempt == 2


def test_before_a_task_has_ended_no_more_are_held_than_there_are_slots(bench: Bench) -> None:
    bench.load(*[{}] * 9)
    source = bench.source(slots=3)
    source.receive(0)
    eventually(lambda: bench.split() == (6, 3))
    source.ack(given(source, 1))
    eventually(lambda: bench.split() == (5, 3))


def test_a_task_that_has_ended_makes_room_though_it_is_not_settled_yet(bench: Bench) -> None:
    bench.load(*[{}] * 9)
    source = bench.source(slots=3, lease=0.5, idle=0.2)
    first = given(source, 3)
    for delivery in first:
        source.task_ended(delivery)
    more = given(source, 3)
    assert bench.split() == (3, 6)
    source.ack([*first, *more])
    source.ack(given(source, 3))
    assert bench.split() == (0, 0)
    assert source.receive(1) == Batch(ended=True)


@pytest.mark.parametrize(("mean_time", "held"), [(60.0, 2), (3.0, 4), (1.0, 8)])
def test_the_shorter_tasks_are_the_more_are_held_ready(
    bench: Bench, mean_time: float, held: int
) -> None:
    bench.mean_time = mean_time
    bench.load(*[{}] * 20)
    bench.source(slots=2).receive(0)
    eventually(lambda: bench.split() == (20 - held, held))


def test_a_bad_message_is_moved_away_and_hurts_no_neighbour(bench: Bench) -> None:
    bench.mean_time = 0.1
    good = '{"task_id": "good", "data": {}}'
    bad = ["", "no json", "[1]", '{"task_id": "x"}', '{"task_id": "x", "data": {"a": NaN}}']
    bench.send(good, *bad, good)
    source = bench.source()
    malformed: list[Malformed] = []
    deliveries: list[Delivery] = []
    while len(malformed) + len(deliveries) < 7:
        batch = source.receive(10)
        malformed += batch.malformed
        deliveries += batch.deliveries
    assert ids(deliveries) == ["good", "good"]
    assert all(entry.position.startswith("message m") for entry in malformed)
    source.dead_letter(malformed)
    source.ack(deliveries)
    assert bench.split() == (0, 0)
    assert bench.dead() == [body.encode() for body in bad]


def test_without_a_dead_letter_queue_nothing_is_lost(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.load({})
    bench.server.stored("jobs-dead").refuse("send", 1e9, QueueRefusedError("forbidden"))
    source = bench.source()
    source.dead_letter(given(source, 1))
    assert bench.split() == (0, 1)  # hidden for some minutes
    assert "forbidden" in caplog.text
    assert bench.dead() == []


def test_a_long_task_keeps_its_lease(bench: Bench) -> None:
    bench.load({})
    first = bench.source(lease=0.4)
    (held,) = given(first, 1)
    for _ in range(8):  # five times the lease
        bench.live_on(0.25, lease=0.4)
    other = bench.source(idle=0.2)
    assert other.receive(1) == Batch(ended=True)
    assert not first.has_lost(held)
    first.ack([held])
    assert bench.split() == (0, 0)


def test_tasks_that_wait_are_extended_too(bench: Bench) -> None:
    bench.mean_time = 0.3
    bench.load(*[{}] * 5)
    bench.source(lease=0.4).receive(0)  # nobody takes them out
    eventually(lambda: bench.split() == (0, 5))
    for _ in range(4):
        bench.live_on(0.25, lease=0.4)
    other = bench.source(idle=0.2)
    assert other.receive(1) == Batch(ended=True)


def test_a_lost_lease_is_noticed_and_never_acknowledged(bench: Bench) -> None:
    bench.load({})
    source = bench.source(lease=0.8)
    (held,) = given(source, 1)
    bench.stored.fail_messages("extend", 1, "the receipt has expired", lost=True)
    bench.pass_time(0.5)
    eventually(lambda: source.has_lost(held))
    source.ack([held])
    assert sum(bench.split()) == 1


def test_a_lease_is_lost_when_it_could_not_be_extended_in_time(bench: Bench) -> None:
    bench.load({})
    source = bench.source(lease=0.4)
    (held,) = given(source, 1)
    for operation in ("extend", "receive"):
        bench.stored.refuse(operation, 1e9, QueueUnavailableError("away"))
    # A request under way would bring the message anew, and it would be ours again.
    eventually(lambda: bench.stored.refusals["receive"].left < 1e9)
    bench.pass_time(0.3)
    eventually(lambda: bench.requests["extend"])
    assert not source.has_lost(held)
    bench.pass_time(0.1)
    assert source.has_lost(held)
    source.ack([held])
    assert bench.requests["ack"] == 0
    assert sum(bench.split()) == 1


def test_a_short_trouble_loses_no_lease(bench: Bench) -> None:
    bench.load({})
    source = bench.source(lease=1.0)
    (held,) = given(source, 1)
    bench.stored.refuse("extend", 3, QueueUnavailableError("away"))
    for _ in range(3):
        bench.live_on(0.6, lease=1.0)
    assert bench.requests["extend"] == 6
    assert not source.has_lost(held)


def test_a_second_delivery_of_what_is_held_is_no_second_task(bench: Bench) -> None:
    bench.load({})
    source = bench.source(idle=0.5)
    (held,) = given(source, 1)
    (copy,) = bench.stored.copies
    before = copy.handle
    bench.stored.lose_leases()
    # The same worker received it again, and knows it.
    eventually(lambda: held.receipt.message.handle == copy.handle != before)
    assert not source.has_lost(held)
    source.ack([held])
    assert bench.split() == (0, 0)
    assert source.receive(1) == Batch(ended=True)


def test_a_drain_gives_back_what_nobody_took_and_keeps_what_runs(bench: Bench) -> None:
    bench.mean_time = 0.1
    bench.load(*[{}] * 20)
    source = bench.source()
    runs = given(source, 1)
    eventually(lambda: bench.split() == (0, 20))
    source.drain()
    eventually(lambda: bench.split() == (19, 1))
    assert source.receive(1) == Batch(ended=True)
    source.ack(runs)
    assert bench.split() == (19, 0)


def test_a_drain_wakes_who_waits_for_tasks(bench: Bench) -> None:
    source = bench.source()
    batches: list[Batch] = []
    waiting = threading.Thread(target=lambda: batches.append(source.receive(1)))
    waiting.start()
    source.drain()
    waiting.join(20)
    assert batches == [Batch(ended=True)]


def test_what_comes_with_the_last_request_goes_back(bench: Bench) -> None:
    source = bench.source()
    waiting = threading.Thread(target=source.receive, args=(1,))
    waiting.start()
    eventually(lambda: bench.requests["receive"])
    source.drain()
    bench.load({})
    source.close()
    waiting.join(20)
    assert bench.split() == (1, 0)


def test_nothing_is_received_before_it_is_asked_for(bench: Bench) -> None:
    bench.load({})
    bench.source().close()
    assert bench.requests["receive"] == 0
    assert bench.split() == (1, 0)


def test_closing_gives_back_what_is_held_and_what_was_set_aside(bench: Bench) -> None:
    bench.load(*[{}] * 5)
    source = bench.source(slots=4)
    skipped = given(source, 2)
    source.set_aside(skipped)
    eventually(lambda: bench.split() == (0, 5))  # as if it had the skipped ones not
    source.ack(given(source, 1))
    source.close()
    assert bench.split() == (4, 0)


def test_no_more_are_taken_than_will_be_run(bench: Bench) -> None:
    bench.mean_time = 0.01
    bench.load(*[{}] * 20)
    source = bench.source(most=3)
    deliveries = given(source, 3)
    assert bench.split() == (17, 3)
    assert source.receive(1) == Batch(ended=True)
    source.ack(deliveries)
    assert bench.split() == (17, 0)


def test_it_ends_when_it_was_idle_for_long_enough_and_nothing_is_held(bench: Bench) -> None:
    bench.load({})
    source = bench.source(idle=0.3)
    deliveries = given(source, 1)
    batches: list[Batch] = []
    waiting = threading.Thread(target=lambda: batches.append(source.receive(1)))
    waiting.start()
    eventually(lambda: bench.requests["receive"] >= 5)
    assert waiting.is_alive()  # a task is still running
    source.ack(deliveries)
    waiting.join(20)
    assert batches == [Batch(ended=True)]


def test_a_queue_that_is_away_is_waited_for(bench: Bench) -> None:
    bench.load({})
    bench.stored.refuse("receive", 5, QueueUnavailableError("away"))
    assert ids(given(bench.source(), 1)) == ["t0"]


def test_what_comes_after_an_outage_longer_than_a_lease_is_held(bench: Bench) -> None:
    tries = iter(range(20))

    def away_for_three_leases(name: str, operation: str) -> QueueError | None:
        if operation != "receive" or next(tries, None) is None:
            return None
        bench.pass_time(0.075)
        return QueueUnavailableError("away")

    bench.load({})
    bench.server.trouble = away_for_three_leases
    source = bench.source(lease=0.5)
    [delivery] = given(source, 1)
    assert delivery.attempt == 1
    assert not source.has_lost(delivery)


def test_a_trouble_that_will_not_pass_is_raised(bench: Bench) -> None:
    bench.stored.refuse("receive", 1e9, QueueRefusedError("forbidden"))
    with pytest.raises(QueueRefusedError, match="forbidden"):
        bench.source().receive(1)


def test_a_missing_queue_is_told_at_once(bench: Bench) -> None:
    bench.server.queues.clear()
    with pytest.raises(QueueMissingError):
        bench.source()


def test_what_can_not_be_acknowledged_comes_again_and_raises_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.load({})
    source = bench.source(lease=0.5)
    deliveries = given(source, 1)
    bench.stored.refuse("ack", 1e9, QueueUnavailableError("away"))
    source.ack(deliveries)
    assert "again" in caplog.text
    bench.pass_time(0.5)
    eventually(lambda: bench.stored.copies[0].attempt == 2)


def test_closing_is_quick_when_the_queue_is_away(bench: Bench) -> None:
    bench.load({})
    source = bench.source()
    given(source, 1)
    bench.server.trouble = lambda name, operation: QueueUnavailableError("away")
    source.close()
    assert sum(bench.split()) == 1
