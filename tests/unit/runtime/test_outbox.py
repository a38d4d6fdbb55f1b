from __future__ import annotations

import threading

import pytest
from fakes import Sink, Source, deliveries

from cloud_tasks.errors import EventLogError
from cloud_tasks.events.sink import EventSink
from cloud_tasks.policy import Decision, Settlement
from cloud_tasks.runtime.outbox import Outbox
from cloud_tasks.sources.base import Limits
from cloud_tasks.testing import eventually

ACK = Decision(retry=False, settlement=Settlement.ACK, succeeded=True)


class SlowSink(Sink):
    """Takes nothing before it is let; counts how many lines came at a time."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(log)
        self.sizes: list[int] = []
        self.waits = threading.Event()
        self.let = threading.Event()
        self.closed = threading.Event()

    def write(self, lines: list[bytes]) -> None:
        self.waits.set()
        if not self.let.wait(20):
            raise AssertionError("nobody let it")
        self.sizes.append(len(lines))
        super().write(lines)

    def close(self) -> None:
        self.closed.set()
        super().close()


class Bench:
    """An outbox for a source that settles five at a time."""

    def __init__(self, *sinks: EventSink, log: list[str], requeues: bool = True) -> None:
        self.log = log
        self.source = Source([], log=log, requeues=requeues)
        self.source.limits = Limits(requeues=requeues, settle=5)
        self.full: list[bool] = []
        self.failures: list[EventLogError] = []
        self.outbox = Outbox(
            self.source,
            sinks,
            on_full=self.full.append,
            on_failure=self.failures.append,
        )

    def put(self, count: int) -> None:
        for delivery in deliveries(count):
            self.outbox.put([b"{}"], [(delivery, ACK)])


@pytest.fixture
def log() -> list[str]:
    return []


def test_events_are_sent_before_their_tasks_are_settled(log: list[str]) -> None:
    bench = Bench(Sink(log), Sink(log), log=log)
    bench.outbox.open()
    bench.put(3)
    bench.outbox.finish(lambda: 20)
    assert log[2:] == ["event"] * 6 + ["ack t0", "ack t1", "ack t2"]


def test_what_comes_meanwhile_is_sent_together_in_full_batches(log: list[str]) -> None:
    sink = SlowSink(log)
    bench = Bench(sink, log=log)
    bench.outbox.open()
    bench.put(1)
    assert sink.waits.wait(20)
    bench.put(10)
    sink.let.set()
    bench.outbox.finish(lambda: 20)
    assert sink.sizes == [1, 5, 5]


def test_who_waits_for_nobody_is_sent_soon(log: list[str]) -> None:
    sink = Sink(log)
    bench = Bench(sink, log=log)
    bench.outbox.open()
    bench.put(1)
    eventually(lambda: bench.source.acked == ["t0"])
    bench.outbox.finish(lambda: 20)


def test_retries_are_told_their_delay_and_the_given_up_are_moved(log: list[str]) -> None:
    bench = Bench(log=log)
    bench.outbox.open()
    first, second, third, fourth = deliveries(4)
    later = Decision(retry=True, settlement=Settlement.RELEASE, succeeded=False, delay=4.0)
    now = Decision(retry=True, settlement=Settlement.RELEASE, succeeded=False)
    dead = Decision(retry=False, settlement=Settlement.DEAD_LETTER, succeeded=False)
    bench.outbox.put([], [(first, later), (second, now), (third, dead), (fourth, later)])
    bench.outbox.finish(lambda: 20)
    assert dict(zip(bench.source.released, bench.source.delays, strict=True)) == {
        "t0": 4.0,
        "t3": 4.0,
        "t1": 0.0,
    }
    assert bench.source.dead == ["t2"]


def test_too_much_that_waits_is_told_of_and_so_is_its_end(log: list[str]) -> None:
    sink = SlowSink(log)
    bench = Bench(sink, log=log)
    bench.outbox.open()
    bench.put(999)
    assert bench.full == []
    bench.put(1)
    assert bench.full == [True]
    sink.let.set()
    bench.outbox.finish(lambda: 20)
    assert bench.full == [True, False]
    assert len(sink.lines) == 1000


def test_after_a_sink_has_failed_nothing_is_settled_any_more(log: list[str]) -> None:
    sink = Sink(log, failures=float("inf"))
    bench = Bench(sink, log=log)
    bench.outbox.open()
    bench.put(12)
    bench.outbox.finish(lambda: 20)
    assert [str(error) for error in bench.failures] == ["the sink refuses"]
    assert bench.source.acked == []
    assert sink.refused == 1


def test_the_end_is_waited_for_no_longer_than_there_is_patience(log: list[str]) -> None:
    sink = SlowSink(log)
    bench = Bench(sink, log=log)
    bench.outbox.open()
    bench.put(1)
    with pytest.raises(EventLogError, match="will run again"):
        bench.outbox.finish(lambda: 0.05)
    sink.let.set()
    eventually(lambda: bench.source.acked == ["t0"])


def test_an_end_ends_the_wait_for_a_sink_that_is_being_opened(log: list[str]) -> None:
    sink = SlowSink(log)
    bench = Bench(sink, log=log)
    bench.outbox.stop_lingering()
    assert sink.closed.is_set()
    bench.outbox.finish(lambda: 20)  # nothing was opened, so there is nothing to wait for


def test_where_nobody_is_far_away_it_does_nothing(log: list[str]) -> None:
    bench = Bench(log=log, requeues=False)
    bench.outbox.open()
    bench.put(2000)
    bench.outbox.finish(lambda: 0)
    assert log == []
    assert bench.full == []


def test_bytes_that_wait_are_too_much_as_well(log: list[str]) -> None:
    sink = SlowSink(log)
    bench = Bench(sink, log=log)
    bench.outbox.open()
    megabytes = b"x" * (16 * 2**20)
    for _ in range(3):
        bench.outbox.put([megabytes], [])
    assert bench.full == []
    bench.outbox.put([megabytes], [])
    assert bench.full == [True]
    sink.let.set()
    eventually(lambda: bench.full == [True, False])
    bench.outbox.finish(lambda: 20)


def test_that_there_is_room_again_is_told_last(log: list[str]) -> None:
    told: list[bool] = []
    room = threading.Event()

    def on_full(full: bool) -> None:
        if full:
            room.wait(0.5)  # all is sent before we have said that it was too much
        else:
            room.set()
        told.append(full)

    bench = Bench(Sink(log), log=log)
    outbox = Outbox(bench.source, [Sink(log)], on_full=on_full, on_failure=bench.failures.append)
    outbox.open()
    outbox.put([b"{}"] * 1000, [])
    outbox.finish(lambda: 20)
    assert told == [True, False]


def test_a_batch_that_fills_up_is_not_yet_too_much(log: list[str]) -> None:
    sink = SlowSink(log)
    bench = Bench(log=log)
    bench.source.limits = Limits(requeues=True, settle=1000)
    report = bench.failures.append
    outbox = Outbox(bench.source, [sink], on_full=bench.full.append, on_failure=report)
    outbox.open()
    outbox.put([b"{}"] * 999, [])
    sink.let.set()
    outbox.finish(lambda: 20)
    assert sink.sizes == [500, 499]
    assert bench.full == []


def test_a_sink_that_opens_when_all_is_over_begins_nothing(log: list[str]) -> None:
    class LateSink(Sink):
        def open(self) -> None:
            bench.outbox.finish(lambda: 20)

    bench = Bench(LateSink(log), log=log)
    before = set(threading.enumerate())
    bench.outbox.open()
    # Threads of earlier tests may end meanwhile, so these are not counted.
    assert not set(threading.enumerate()) - before
