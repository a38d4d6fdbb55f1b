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
from cloud_tasks.policy import FailureLimit, RetryRules
from cloud_tasks.runtime.completer import Completer
from cloud_tasks.runtime.outbox import Outbox
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.task import Delivery, Malformed

DONE = Completed(False, b"1")


class Bench:
    """A completer among fakes."""

    def __init__(
        self,
        sinks: int = 1,
        *,
        requeues: bool = True,
        all_outcomes: bool = False,
        max_attempts: int = 0,
        failure_limit: FailureLimit | None = None,
        draining: bool = False,
    ) -> None:
        self.log: list[str] = []
        self.clock = FakeClock()
        self.source = Source([], log=self.log, requeues=requeues)
        self.troubles: list[BaseException] = []
        self.outbox = Outbox(
            self.source, [], on_full=lambda full: None, on_failure=self.troubles.append
        )
        self.outbox.open()
        self.sinks = [Sink(self.log) for _ in range(sinks)]
        self.stats = Stats(self.clock)
        self.outcomes: list[tuple[str, Outcome]] = []
        self.completer = Completer(
            self.source,
            list(self.sinks),
            Recorder(self.clock),
            RetryRules(on_exception=True, requeues=requeues, max_attempts=max_attempts),
            self.stats,
            self.clock,
            outbox=self.outbox,
            on_outcome=self.on_outcome,
            all_outcomes=all_outcomes,
            on_error=self.troubles.append,
            failure_limit=failure_limit,
            on_failure_limit=lambda: self.log.append("too many failures"),
            draining=lambda: draining,
        )

    def on_outcome(self, delivery: Delivery, outcome: Outcome) -> None:
        self.outcomes.append((delivery.task.task_id, outcome))

    def complete(self, *pairs: tuple[Delivery, Outcome]) -> None:
        for delivery, outcome in pairs:
            future: Future[Outcome] = Future()
            future.set_result(outcome)
            self.completer.on_outcome(delivery, future)

    def settle(self) -> None:
        """Write what is there, and wait until the source was told."""
        self.completer.flush()
        self.outbox.finish(lambda: 20)

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
    bench.settle()
    assert bench.log == ["event"] * 4 + ["ack t0", "release t1"]


def test_nothing_waits_when_much_has_come_together() -> None:
    bench = Bench()
    bench.complete((deliveries(1)[0], Completed(False, b'"' + b"x" * 65536 + b'"')))
    assert bench.log == ["event"]
    assert bench.completer.is_clean
    bench.settle()
    assert bench.source.acked == ["t0"]


def test_a_task_that_never_began_goes_back_without_an_event() -> None:
    bench = Bench()
    begun = Aborted("stop", Measures(slot=0))
    bench.complete(*pairs([Aborted("stop"), begun]))
    bench.settle()
    assert bench.written() == ["t1"]
    assert bench.source.released == ["t0", "t1"]
    assert bench.summary.aborted == 1


def test_a_local_task_that_was_lost_without_a_shutdown_is_not_done() -> None:
    bench = Bench(requeues=False)
    bench.complete(*pairs([DONE, Aborted("its worker was lost")]))
    bench.settle()
    assert bench.written() == ["t0", "t1"]
    assert (bench.summary.aborted, bench.summary.not_done, bench.summary.exit_code) == (1, 1, 1)


def test_a_local_task_that_a_shutdown_kept_from_starting_counts_as_not_started() -> None:
    bench = Bench(requeues=False, draining=True)
    bench.complete(*pairs([DONE, Aborted("stop")]))
    bench.settle()
    assert bench.written() == ["t0"]
    assert (bench.summary.aborted, bench.summary.not_done) == (0, 0)


def test_a_source_that_takes_nothing_back_is_told_nothing() -> None:
    bench = Bench(requeues=False)
    bench.complete(*pairs([DONE, Raised("E", "", "trace")]))
    bench.settle()
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
    bench.settle()
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
    bench.settle()
    assert bench.source.acked == ["t0"]


def test_an_error_of_ours_is_reported_and_not_swallowed() -> None:
    bench = Bench()
    future: Future[Outcome] = Future()
    future.set_exception(ZeroDivisionError("ours"))
    bench.completer.on_outcome(deliveries(1)[0], future)
    assert isinstance(bench.troubles[0], ZeroDivisionError)


def test_outcomes_that_are_not_done_are_reported_or_all_of_them() -> None:
    outcomes: list[Outcome] = [DONE, Completed(True, b"1"), Raised("E", "", "trace")]
    for all_outcomes, reported in ((False, ["t1", "t2"]), (True, ["t0", "t1", "t2"])):
        bench = Bench(all_outcomes=all_outcomes)
        bench.complete(*pairs(outcomes))
        assert [name for name, _ in bench.outcomes] == reported


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
    bench.settle()
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
    bench.outbox.finish(lambda: 20)
    assert bench.source.acked == bench.source.released == []
    assert isinstance(bench.troubles[0], EventLogError)


def test_an_entry_that_is_no_task_is_recorded_and_then_moved_away() -> None:
    bench = Bench()
    bench.completer.reject(Malformed("message m1", "is no JSON"))
    bench.settle()
    assert bench.log == ["event", "dead message m1"]
    event = json.loads(bench.sinks[0].lines[0])
    assert event["event_type"] == "non_fatal_exception"
    assert "message m1" in event["exception"]


def test_a_task_out_of_attempts_has_two_events_and_is_given_up() -> None:
    bench = Bench(max_attempts=3)
    (delivery,) = deliveries(1)
    for attempt in (2, 3):
        last = delivery._replace(attempt=attempt)
        bench.complete((last, Raised("ValueError", "no", "ValueError: no")))
    bench.settle()
    assert bench.source.released == ["t0"]
    assert bench.source.delays == [2.0]
    assert bench.source.dead == ["t0"]
    events = [json.loads(line) for line in bench.sinks[0].lines]
    kinds = [(event["event_type"], event.get("retry")) for event in events]
    assert kinds == [("task_exception", True), ("task_exception", False), ("task_dead", None)]
    assert events[-1]["attempts"] == 3
    assert events[-1]["reason"] == "ValueError: no"
    assert (bench.summary.not_done, bench.summary.given_up) == (1, 1)


def test_too_many_failures_are_told_once() -> None:
    bench = Bench(requeues=False, failure_limit=FailureLimit(count=2))
    failure = Raised("E", "", "trace")
    bench.complete(*pairs([failure, DONE, Aborted("we did", Measures(slot=0))]))
    assert bench.log == []
    bench.complete(*pairs([failure, failure, failure]))
    assert bench.log == ["too many failures"]


def test_a_failure_that_is_tried_again_is_not_counted_against_the_run() -> None:
    bench = Bench(requeues=True, failure_limit=FailureLimit(count=1))
    bench.complete(*pairs([Raised("E", "", "trace")]))
    assert bench.log == []
