"""Whole runs: fakes at both ends, threads of a real pool between."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes import FastClock, Sink, Source, deliveries, forget

from cloud_tasks.clock import Clock
from cloud_tasks.errors import (
    CloudTasksError,
    EventLogError,
    QueueMissingError,
    QueueUnavailableError,
    SourceError,
    TaskFormatError,
)
from cloud_tasks.events.jsonl import JsonlSink
from cloud_tasks.events.sink import EventSink
from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.foreign import FuturesExecutor
from cloud_tasks.executors.function import specify
from cloud_tasks.executors.inline import InlineExecutor
from cloud_tasks.outcome import Aborted, Measures, Outcome
from cloud_tasks.policy import RetryRules
from cloud_tasks.runtime.dispatcher import Dispatcher
from cloud_tasks.runtime.options import RunOptions
from cloud_tasks.runtime.run import Run
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.sources.base import Limits
from cloud_tasks.summary import RunSummary, StopReason
from cloud_tasks.task import Batch, Malformed, Task
from cloud_tasks.termination.base import Notice, SimulatedProbe, TerminationProbe
from cloud_tasks.testing import eventually
from cloud_tasks.worker_data import WorkerData

Function = Callable[[str, dict[str, Any], WorkerData], Any]


def returns(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    return False, data["n"]


class Gate:
    """Holds tasks until a test lets them go."""

    def __init__(self) -> None:
        self.began, self.open = threading.Event(), threading.Event()
        #: What a task that waits was given.
        self.worker_data = WorkerData()


gate = Gate()


@pytest.fixture(autouse=True)
def _new_gate() -> None:
    global gate
    gate = Gate()


def waits_at_gate(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    gate.worker_data = worker_data
    gate.began.set()
    gate.open.wait(30)
    return False, [worker_data.received_shutdown_request, worker_data.received_termination_notice]


def first_quick_then_waits(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    return (returns if data["n"] < 5 else waits_at_gate)(task_id, data, worker_data)


class Bench:
    """A run over a source and a sink of ours."""

    def __init__(
        self,
        source: Source,
        sinks: Sequence[EventSink],
        *,
        remote_sinks: Sequence[EventSink] = (),
        function: Function = returns,
        clock: Clock | None = None,
        probes: Sequence[TerminationProbe] = (),
        executor: Executor | None = None,
        **options: Any,
    ) -> None:
        clock = clock or Clock()
        self.stats = Stats(clock)
        self.pool = ThreadPoolExecutor(2)
        self.run = Run(
            specify(function),
            WorkerData(),
            source=source,
            executor=executor or FuturesExecutor(self.pool),
            sinks=list(sinks),
            remote_sinks=list(remote_sinks),
            probes=list(probes),
            options=RunOptions(
                executor=ExecutorOptions(slots=2),
                **{
                    "rules": RetryRules(requeues=True),
                    "max_runtime": 600.0,
                    "grace": 30.0,
                    **options,
                },
            ),
            clock=clock,
            stats=self.stats,
            on_outcome=forget,
            all_outcomes=False,
        )

    def go(self) -> RunSummary:
        with self.pool:
            return self.run.run()


def types(sink: Sink) -> list[str]:
    return [json.loads(line)["event_type"] for line in sink.lines]


def test_everything_is_run_recorded_acknowledged_and_closed_in_this_order() -> None:
    log: list[str] = []
    source, sink = Source(deliveries(50), log=log), Sink(log)
    summary = Bench(source, [sink]).go()
    assert (summary.completed, summary.exit_code) == (50, 0)
    assert sorted(source.acked) == sorted(f"t{n}" for n in range(50))
    assert log[0] == "open sink"
    assert log[-1] == "close sink"
    assert source.closed
    before = 0
    for word in log:
        before += (word == "event") - word.startswith("ack")
        assert before >= 0  # none was acknowledged before its event


def test_a_sink_that_fails_for_a_while_loses_nothing_and_doubles_nothing() -> None:
    source, sink = Source(deliveries(30)), Sink(failures=3)
    summary = Bench(source, [sink]).go()
    assert summary.exit_code == 0
    assert len(sink.lines) == 30
    assert sorted(source.acked) == sorted({json.loads(line)["task_id"] for line in sink.lines})


def test_a_sink_that_fails_for_ever_ends_the_run_and_nothing_is_acknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped = threading.Event()
    pause = Dispatcher.pause

    def tells_of_it(dispatcher: Dispatcher, why: str, on: bool) -> None:
        pause(dispatcher, why, on)
        stopped.set()

    def quick_at_first(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
        # The thread that stops the intake may be put aside while the others run hundreds of tasks.
        if data["n"] >= 100:
            stopped.wait(30)
        return False, None

    monkeypatch.setattr(Dispatcher, "pause", tells_of_it)
    source, sink = Source(deliveries(5000)), Sink(failures=float("inf"))
    with pytest.raises(EventLogError, match="the sink refuses; tried for 30 s") as caught:
        Bench(source, [sink], function=quick_at_first, clock=FastClock(100)).go()
    assert stopped.is_set()
    assert source.acked == []
    summary = caught.value.summary
    assert summary is not None
    assert (summary.exit_code, summary.stop_reason) == (4, StopReason.FAILED)
    assert summary.ended < 1000  # the intake stopped


def test_with_the_source_broken_as_well_it_ends_too() -> None:
    source = Source(deliveries(3), error=SourceError("cut off"))
    with pytest.raises(CloudTasksError, match=r"cut off|refuses"):
        Bench(source, [Sink(failures=float("inf"))], clock=FastClock(100)).go()


def test_a_sink_that_works_again_before_its_failure_is_heard_of_stops_nothing() -> None:
    class Busy(Sink):
        def write(self, lines: list[bytes]) -> None:
            if self.failures:  # others have something to say just then
                for _ in range(300):
                    bench.run.lifecycle.post(Notice("maybe", None, final=False))
            super().write(lines)

    source, sink = Source(deliveries(500)), Busy(failures=1)
    bench = Bench(source, [sink])
    assert bench.go().completed == 500
    assert len(sink.lines) == len(source.acked) == 500


def test_an_event_log_that_fails_for_ever_is_told_of_to_the_event_queue() -> None:
    source, far = Source(deliveries(3)), Sink()
    with pytest.raises(EventLogError, match="the sink refuses"):
        Bench(source, [Sink(failures=math.inf)], remote_sinks=[far], clock=FastClock(50)).go()
    eventually(lambda: types(far) == ["fatal_exception"])
    assert source.acked == []


def test_a_sink_far_away_that_refuses_the_last_events_is_a_failure() -> None:
    class Late(Sink):
        def write(self, lines: list[bytes]) -> None:
            eventually(lambda: len(near.lines) == 3)
            super().write(lines)

    source, near = Source(deliveries(3)), Sink()
    with pytest.raises(EventLogError, match="the sink refuses") as caught:
        Bench(source, [near], remote_sinks=[Late(failures=math.inf)]).go()
    assert caught.value.summary is not None
    assert caught.value.summary.exit_code == 4
    assert types(near) == ["task_completed"] * 3 + ["fatal_exception"]
    assert source.acked == []


@pytest.mark.parametrize("lost", [Aborted("lost"), Aborted("lost", Measures(slot=0))])
def test_a_task_that_a_pool_loses_without_a_shutdown_is_not_done(lost: Aborted) -> None:
    class Losing(FuturesExecutor):
        def submit(self, task: Task, *, max_runtime: float | None = None) -> Future[Outcome]:
            if task.task_id != "t1":
                return super().submit(task, max_runtime=max_runtime)
            future: Future[Outcome] = Future()
            future.set_result(lost)
            return future

    with ThreadPoolExecutor(1) as pool:
        source, sink = Source(deliveries(3), requeues=False), Sink()
        bench = Bench(source, [sink], executor=Losing(pool), rules=RetryRules())
        summary = bench.go()
    assert (summary.completed, summary.aborted, summary.exit_code) == (2, 1, 1)
    assert sorted(types(sink)) == ["task_aborted", "task_completed", "task_completed"]


@pytest.mark.parametrize("where", ["open", "receive", "close"])
def test_any_exception_of_a_source_is_a_failure_that_names_it(where: str) -> None:
    class Leaving(Source):
        def leave(self, place: str) -> None:
            if place == where:
                raise SystemExit("no answer")

        def open(self) -> None:
            self.leave("open")

        def receive(self, n: int) -> Batch:
            self.leave("receive")
            return super().receive(n)

        def close(self) -> None:
            self.leave("close")

        def __str__(self) -> str:
            return "the catalogue"

    sink = Sink()
    with pytest.raises(
        SourceError, match="the catalogue failed: SystemExit: 'no answer'"
    ) as caught:
        Bench(Leaving(deliveries(2)), [sink]).go()
    assert caught.value.summary is not None
    assert caught.value.summary.exit_code == 4
    assert types(sink)[-1] == "fatal_exception"


def test_why_a_source_can_not_be_opened_is_told_far_away_if_that_can_be_reached() -> None:
    class Broken(Source):
        trouble: Exception

        def open(self) -> None:
            raise self.trouble

    far = Sink()
    source = Broken([])
    source.trouble = QueueMissingError("no such queue")
    with pytest.raises(QueueMissingError):
        Bench(source, [Sink()], remote_sinks=[far]).go()
    assert types(far) == ["fatal_exception"]
    far = Sink()
    source.trouble = QueueUnavailableError("away")
    with pytest.raises(QueueUnavailableError):
        Bench(source, [Sink()], remote_sinks=[far]).go()
    assert far.lines == []


@pytest.mark.parametrize("heeds_drain", [True, False])
def test_inline_only_a_source_that_heeds_no_drain_needs_an_exception(heeds_drain: bool) -> None:
    class Stopping(Source):
        blocked = False
        ended = ""

        def receive(self, n: int) -> Batch:
            run.stop(StopReason.SIGINT)  # never raises, whoever calls it
            self.blocked = run.blocked_in_source
            self.ended = "drained" if self.drained.wait(20) else "not drained"
            return Batch(ended=True)

    source = Stopping([])
    source.limits = Limits(requeues=True, heeds_drain=heeds_drain)
    run = Bench(source, [Sink()], executor=InlineExecutor()).run
    assert run.run().exit_code == 130
    assert source.ended == "drained"
    assert source.blocked is not heeds_drain
    assert not run.blocked_in_source


def test_with_other_executors_no_exception_is_needed() -> None:
    class Asking(Source):
        blocked = True

        def receive(self, n: int) -> Batch:
            self.blocked = bench.run.blocked_in_source
            return Batch(ended=True)

    source = Asking([])
    bench = Bench(source, [Sink()])
    assert bench.go().exit_code == 0
    assert not source.blocked


def test_a_broken_source_is_told_of_after_what_it_gave_has_run() -> None:
    source, sink = Source(deliveries(3), error=SourceError("cut off")), Sink()
    with pytest.raises(SourceError, match="cut off") as caught:
        Bench(source, [sink]).go()
    assert types(sink) == ["task_completed"] * 3 + ["fatal_exception"]
    assert "cut off" in json.loads(sink.lines[-1])["stack_trace"]
    assert len(source.acked) == 3
    assert caught.value.summary is not None
    assert (caught.value.summary.completed, caught.value.summary.exit_code) == (3, 4)


def test_bad_entries_have_events_and_the_error_comes_at_the_end() -> None:
    first, second = deliveries(2)
    sink = Sink()
    source = Source([first, Malformed("entry 2", "is null", "x"), second])
    with pytest.raises(TaskFormatError, match="entry 2"):
        Bench(source, [sink]).go()
    assert sorted(types(sink)) == ["non_fatal_exception", "task_completed", "task_completed"]
    assert len(source.acked) == 2


def test_an_event_log_that_can_not_be_opened_lets_nothing_begin(tmp_path: Path) -> None:
    source = Source(deliveries(3))
    with pytest.raises(EventLogError) as caught:
        Bench(source, [JsonlSink(tmp_path)]).go()
    assert source.log == []
    assert caught.value.summary is not None


def test_a_defect_of_a_source_of_somebody_else_is_no_bare_error() -> None:
    with pytest.raises(CloudTasksError, match="ZeroDivisionError") as caught:
        Bench(Source(deliveries(1), error=ZeroDivisionError()), [Sink()]).go()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


class Endless(Source):
    """Opens or gives only when it is closed."""

    def __init__(self, *, in_open: bool) -> None:
        super().__init__([])
        self._in_open = in_open
        self.blocked, self.end = threading.Event(), threading.Event()

    def _block(self) -> None:
        self.blocked.set()
        self.end.wait(30)

    def open(self) -> None:
        if self._in_open:
            self._block()

    def receive(self, n: int) -> Batch:
        self._block()
        return Batch(ended=True)


@pytest.mark.parametrize("in_open", [True, False], ids=["in open", "in receive"])
def test_a_source_that_blocks_for_ever_does_not_keep_a_stop_waiting(in_open: bool) -> None:
    source = Endless(in_open=in_open)
    bench = Bench(source, [Sink()])
    results: list[RunSummary] = []
    running = threading.Thread(target=lambda: results.append(bench.go()))
    running.start()
    assert source.blocked.wait(10)
    bench.run.stop(StopReason.REQUESTED)
    running.join(30)
    assert [summary.stop_reason for summary in results] == [StopReason.REQUESTED]
    source.end.set()
    eventually(lambda: "cloud_tasks-dispatcher" not in {t.name for t in threading.enumerate()})


def test_tasks_that_never_began_go_back_at_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of tasks that were slow, as on a busy machine, none would wait.
    monkeypatch.setattr("cloud_tasks.runtime.dispatcher.lookahead", lambda *_, **__: 18)
    source, sink = Source(deliveries(20)), Sink()
    bench = Bench(source, [sink], function=first_quick_then_waits)
    running = threading.Thread(target=bench.go)
    running.start()
    assert gate.began.wait(10)
    eventually(lambda: bench.stats.submitted == 20)
    bench.run.stop(StopReason.SIGTERM)
    eventually(lambda: source.released)
    # Told last of all, and maybe after the first tasks went back.
    eventually(lambda: gate.worker_data.received_shutdown_request)
    gate.open.set()
    running.join(30)
    assert 6 <= len(sink.lines) <= 7  # as many as had begun
    assert types(sink) == ["task_completed"] * len(source.acked)
    results = [json.loads(line)["result"] for line in sink.lines]
    waited = [result for result in results if isinstance(result, list)]
    assert waited == [[True, False]] * (len(results) - 5)
    assert set(source.released).isdisjoint(source.acked)


def test_a_notice_is_recorded_before_what_runs_is_over() -> None:
    sink = Sink()
    source = Source(deliveries(20))
    bench = Bench(source, [sink], function=waits_at_gate, probes=[SimulatedProbe(0.01, None)])
    results: list[RunSummary] = []
    running = threading.Thread(target=lambda: results.append(bench.go()))
    running.start()
    eventually(lambda: types(sink) == ["spot_termination"])
    assert source.drained.wait(10)
    gate.open.set()
    running.join(30)
    assert results[0].exit_code == 75
    assert [json.loads(line)["result"] for line in sink.lines[1:]] == [[False, True]] * (
        len(sink.lines) - 1
    )


def test_a_limit_is_told_as_the_reason() -> None:
    summary = Bench(Source(deliveries(9)), [Sink()], limit=4, skip=2).go()
    assert (summary.completed, summary.skipped) == (4, 2)
    assert summary.stop_reason is StopReason.MAX_NUM_TASKS
