from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from concurrent.futures import Future

import pytest
from fakes import FakeClock, Sink, Source, deliveries

from cloud_tasks.errors import EventLogError
from cloud_tasks.events.records import Recorder
from cloud_tasks.outcome import Aborted, Completed, Measures, Outcome, Raised
from cloud_tasks.policy import RetryRules
from cloud_tasks.runtime.completer import Completer
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.runtime.summary import RunSummary, StopReason
from cloud_tasks.task import Delivery

DONE = Completed(False, b"1")


class Bench:
    """A completer among fakes."""

    def __init__(self, sinks: int = 1, *, requeues: bool = True, hear_all: bool = False) -> None:
        self.log: list[str] = []
        self.clock = FakeClock()
        self.source = Source([], log=self.log)
        self.sinks = [Sink(self.log) for _ in range(sinks)]
        self.stats = Stats(self.clock)
        self.troubles: list[Exception] = []
        self.heard: list[tuple[str, Outcome]] = []
        self.completer = Completer(
            self.source,
            list(self.sinks),
            Recorder(self.clock),
            RetryRules(on_exception=True, requeues=requeues),
            self.stats,
            self.clock,
            listener=self.hear,
            hear_all=hear_all,
            on_trouble=self.troubles.append,
        )

    def hear(self, delivery: Delivery, outcome: Outcome) -> None:
        self.heard.append((delivery.task.task_id, outcome))

    def complete(self, *pairs: tuple[Delivery, Outcome]) -> None:
        for delivery, outcome in pairs:
            future: Future[Outcome] = Future()
            future.set_result(outcome)
            self.completer.complete(delivery, future)

    def written(self, sink: int = 0) -> list[str]:
        return [json.loads(line)["task_id"] for line in self.sinks[sink].lines]

    @property
    def summary(self) -> RunSummary:
        return self.stats.summary(StopReason.DONE)


def pairs(outcomes: Iterable[Outcome]) -> list[tuple[Delivery, Outcome]]:
    outcomes = list(outcomes)
    return list(zip(deliveries(len(outcomes)), outcomes, strict=True))


def test_every_sink_has_the_event_before_the_source_is_told() -> None:
    bench = Bench(sinks=2)
    bench.complete(*pairs([DONE, Raised("E", "", "trace")]))
    assert bench.log == []
    bench.completer.flush()
    assert bench.log == ["event"] * 4 + ["ack t0", "release t1"]


def test_nothing_waits_when_much_has_come_together() -> None:
    bench = Bench()
    bench.complete((deliveries(1)[0], Completed(False, b'"' + b"x" * 65536 + b'"')))
    assert bench.log == ["event", "ack t0"]
    assert bench.completer.is_clean


def test_a_task_that_never_began_goes_back_without_an_event() -> None:
    bench = Bench()
    begun = Aborted("stop", Measures(slot=0))
    bench.complete(*pairs([Aborted("stop"), begun]))
    bench.completer.flush()
    assert bench.written() == ["t1"]
    assert bench.source.released == ["t0", "t1"]
    assert bench.summary.aborted == 1


def test_a_source_that_takes_nothing_back_is_told_nothing() -> None:
    bench = Bench(requeues=False)
    bench.complete(*pairs([DONE, Raised("E", "", "trace")]))
    bench.completer.flush()
    assert bench.log == ["event"] * 2
    assert json.loads(bench.sinks[0].lines[1])["retry"] is True


def test_while_a_sink_fails_nothing_is_settled_and_then_nothing_is_lost_or_doubled() -> None:
    bench = Bench(sinks=2)
    everything = pairs([DONE] * 6)
    bench.sinks[1].failures = 3
    bench.complete(*everything[:2])
    bench.completer.flush()
    bench.complete(*everything[2:])
    bench.completer.flush()  # is left to `retry`
    assert [str(error) for error in bench.troubles] == ["the sink refuses"]
    assert bench.source.acked == []
    assert bench.sinks[1].refused == 1

    bench.clock.now += 12
    assert not bench.completer.retry()
    assert not bench.completer.retry()
    failing = [bench.completer.failing_for]
    assert bench.completer.retry()
    failing.append(bench.completer.failing_for)
    assert failing == [12, None]
    ids = [f"t{n}" for n in range(6)]
    assert bench.written(0) == bench.written(1) == bench.source.acked == ids
    assert bench.log.index("ack t0") > bench.log.index("event")


def test_a_second_trouble_is_reported_again() -> None:
    bench = Bench()
    first, second = pairs([DONE] * 2)
    for pair in (first, second):
        bench.sinks[0].failures = 1
        bench.complete(pair)
        bench.completer.flush()
        assert bench.completer.retry()
    assert len(bench.troubles) == 2
    assert bench.written() == ["t0", "t1"]


def test_without_a_sink_tasks_are_settled_all_the_same() -> None:
    bench = Bench(sinks=0)
    bench.complete(*pairs([DONE]))
    bench.completer.flush()
    assert bench.source.acked == ["t0"]


def test_an_error_of_ours_is_reported_and_not_swallowed() -> None:
    bench = Bench()
    future: Future[Outcome] = Future()
    future.set_exception(ZeroDivisionError("ours"))
    bench.completer.complete(deliveries(1)[0], future)
    assert isinstance(bench.troubles[0], ZeroDivisionError)


def test_whoever_listens_hears_what_is_not_done_or_all_of_it() -> None:
    outcomes: list[Outcome] = [DONE, Completed(True, b"1"), Raised("E", "", "trace")]
    for hear_all, heard in ((False, ["t1", "t2"]), (True, ["t0", "t1", "t2"])):
        bench = Bench(hear_all=hear_all)
        bench.complete(*pairs(outcomes))
        assert [name for name, _ in bench.heard] == heard


def test_a_nan_that_became_null_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.complete(*pairs([Completed(False, b"null", replaced_nan=True)] * 3))
    assert caplog.text.count("NaN") == 1
    assert "'t0'" in caplog.text


def test_events_of_many_threads_all_arrive_once() -> None:
    bench = Bench()
    everything = pairs([DONE] * 400)

    def work(part: list[tuple[Delivery, Outcome]]) -> None:
        for pair in part:
            bench.complete(pair)
            bench.completer.flush()

    threads = [threading.Thread(target=work, args=(everything[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(bench.written()) == sorted(bench.source.acked)
    assert len(set(bench.written())) == 400


def test_events_of_no_task_are_written_in_their_place() -> None:
    bench = Bench()
    bench.complete(*pairs([DONE]))
    bench.completer.record(b'{"task_id": "none"}')
    bench.completer.flush()
    assert bench.written() == ["t0", "none"]


def test_given_up_nothing_was_acknowledged() -> None:
    bench = Bench()
    bench.sinks[0].failures = float("inf")
    bench.complete(*pairs([DONE] * 3))
    bench.completer.flush()
    for _ in range(5):
        bench.completer.retry()
    assert bench.source.acked == bench.source.released == []
    assert isinstance(bench.troubles[0], EventLogError)
