"""Run the tasks of a source: each task goes six hops, and each hop hands one record to the next.

    receive ───► dispatch ───► submit ───► outcome ───► decide ───► settle
    Delivery     Delivery      Future      Outcome      Decision

    receive   Intake.receive          takes deliveries from the source, leaves out what isn't chosen
    dispatch  Dispatcher.dispatch     waits until slots will soon be free, then submits
    submit    Executor.submit         returns a future at once
    outcome   Completer.on_outcome    gets the future's result, and records the event of the task
    decide    policy.decide           chooses between ack, release and dead letter; pure
    settle    Outbox._settle          makes the request to the source, once all sinks have the event

Nothing goes back up but room for further tasks. A crash anywhere repeats an event or a task and
never loses one.

Threads: the dispatcher, which may block in the source for ever; the supervisor, which handles
stops and failures (``lifecycle``); the executor's, in which outcomes arrive; the outbox, for slow
requests; one for each probe and for keep-alives (``background``). The caller of :meth:`Run.run`
does the supervisor's work, or the dispatcher's where tasks must run in its thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from cloud_tasks.clock import Clock
from cloud_tasks.errors import (
    CloudTasksError,
    EventLogError,
    HistoryError,
    QueueUnavailableError,
    SourceError,
)
from cloud_tasks.events.records import Recorder
from cloud_tasks.events.sink import EventSink
from cloud_tasks.executors.base import Executor
from cloud_tasks.executors.common.exception_text import frames_of, traceback_of
from cloud_tasks.executors.function import FunctionSpec
from cloud_tasks.runtime.background import InstanceName, send_keepalives, watch_probe
from cloud_tasks.runtime.completer import Completer, OnOutcome
from cloud_tasks.runtime.dispatcher import Dispatcher
from cloud_tasks.runtime.intake import Intake
from cloud_tasks.runtime.lifecycle import (
    LONGEST_SLEEP,
    AllDone,
    Failure,
    Lifecycle,
    Stop,
    Supervisor,
    WriteFailure,
)
from cloud_tasks.runtime.options import RunOptions
from cloud_tasks.runtime.outbox import Outbox
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.sources.base import SourceInterrupted, TaskSource, failing_as_source
from cloud_tasks.summary import TROUBLE, USAGE, RunSummary, StopReason
from cloud_tasks.system.shortage import start_thread
from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)

#: Seconds that a notice waits for the name of this machine.
_NAME_PATIENCE = 1.0


class Run:
    """One run of *function* over the tasks of *source*. Only ``run`` blocks.

    Args:
        sinks: get every event at once, such as a file.
        remote_sinks: get every event in batches, before its task is settled.
        probes: polled for termination notices during the run.
        on_outcome: called with every task that is not done; must not block.
        all_outcomes: call it with the tasks that are done, too.
    """

    def __init__(
        self,
        function: FunctionSpec,
        worker_data: WorkerData,
        *,
        source: TaskSource,
        executor: Executor,
        sinks: list[EventSink],
        remote_sinks: list[EventSink],
        probes: list[TerminationProbe],
        options: RunOptions,
        clock: Clock,
        stats: Stats,
        on_outcome: OnOutcome,
        all_outcomes: bool,
    ) -> None:
        self._function = function
        self._worker_data = worker_data
        self._source = source
        self._executor = executor
        self._sinks = sinks
        self._probes = probes
        self._options = options
        self._stats = stats
        self._recorder = Recorder(clock, job_id=options.job_id)
        self._recorded_failure: CloudTasksError | None = None
        #: Of the event that tells the end of the worker; None: it was not recorded.
        self._recorded_end: tuple[StopReason, int] | None = None
        self._started = False
        self._instance = InstanceName(options.instance_id)
        self._over = threading.Event()
        self._cleanup = contextlib.ExitStack()
        self.lifecycle = Lifecycle(executor, options.grace, lambda: stats.running)
        self._intake = Intake(
            source, stats, skip=options.skip, limit=options.limit, selection=options.selection
        )
        self._outbox = Outbox(
            source,
            remote_sinks,
            on_full=lambda full: self._dispatcher.pause("unsent events", full),
            on_failure=lambda error: self.lifecycle.post(Failure(error, now=True)),
        )
        self._completer = Completer(
            source,
            sinks,
            self._recorder,
            options.rules,
            stats,
            clock,
            outbox=self._outbox,
            on_outcome=on_outcome,
            all_outcomes=all_outcomes,
            on_error=self._on_completer_error,
            failure_limit=options.failure_limit,
            on_failure_limit=lambda: self.lifecycle.post(Stop(StopReason.TOO_MANY_FAILURES)),
            draining=lambda: self.lifecycle.draining,
        )
        self._dispatcher = Dispatcher(
            source,
            self._intake,
            executor,
            self._completer,
            stats,
            max_runtime=options.max_runtime,
            draining=lambda: self.lifecycle.draining,
            on_idle=lambda: self.lifecycle.post(AllDone()),
        )
        self._supervisor = Supervisor(
            self.lifecycle, self._dispatcher, self._completer, source, self._outbox, clock
        )

    # -- from any thread

    @property
    def needs_main_thread(self) -> bool:
        """Return True if ``run`` must be called in the thread in which tasks shall run."""
        return self._executor.capabilities.needs_main_thread

    @property
    def blocked_in_source(self) -> bool:
        """Return True while only an exception in the thread of ``run`` can end a wait for tasks.

        A source that ends its waits at a drain is left alone: an exception that is raised anywhere
        in its code might leave a lock taken.
        """
        in_source = self.needs_main_thread and self._dispatcher.in_source
        return in_source and not self._source.limits.heeds_drain

    def stop(self, reason: StopReason, *, now: bool = False) -> None:
        """Drain; with *now*, or at the second call, kill. Safe in a signal handler."""
        self.lifecycle.post(Stop(reason, now))

    # -- the run

    def run(self) -> RunSummary:
        """Run all tasks; blocks until the last one has ended and no process is left.

        Raises:
            CloudTasksError: the worker or its source failed; with ``summary``.
        """
        with self._cleanup:
            try:
                self._open()
            except CloudTasksError as error:
                self._supervisor.event_log_failed = isinstance(error, EventLogError | HistoryError)
                self.lifecycle.fail(Failure(error))
            else:
                self._work()
            self._record_failure()
            # Before the event queue is closed, although the end may still turn out differently.
            self._record_end()
            self._supervisor.drain_and_close()
            self._record_failure()
            self._record_end()
        return raise_if_failed(self._summary(), self._failure)

    @property
    def _failure(self) -> CloudTasksError | None:
        return self.lifecycle.failure or self._intake.error()

    def _summary(self) -> RunSummary:
        reason = self.lifecycle.reason
        if reason is StopReason.DONE and self._intake.limited:
            reason = StopReason.MAX_NUM_TASKS
        return self._stats.summary(reason, self._failure)

    def _open(self) -> None:
        self._cleanup.callback(self._outbox.close)
        self._options.selection.prepare(lambda: self.lifecycle.draining)
        for sink in self._sinks:
            sink.on_loss = self._on_loss
            self._cleanup.callback(sink.close)
            sink.open()
        self._started = True
        slots = 1 if self.needs_main_thread else self._options.executor.slots
        self._record(self._recorder.worker_started(slots))
        self._cleanup.callback(self._close_source)
        self._cleanup.callback(self._executor.shutdown)
        self._executor.start(
            self._function,
            self._worker_data,
            replace(
                self._options.executor,
                before_wait=self._completer.flush,
                on_broken=lambda error: self.lifecycle.post(Failure(error)),
            ),
        )

    def _work(self) -> None:
        self._start_background()
        if self.needs_main_thread:
            supervisor = self._start_thread("supervisor", self._supervise)
            self._dispatch()
            while supervisor.is_alive():
                supervisor.join(LONGEST_SLEEP)
        else:
            self._start_thread("dispatcher", self._dispatch)
            self._supervise()
        self._over.set()
        # Now, because what follows can take long: a kill then leaves no process or file behind.
        self._executor.shutdown()

    def _supervise(self) -> None:
        try:
            self._supervisor.run()
        except BaseException as error:
            logger.exception("supervising the run failed")
            self.lifecycle.fail(Failure(error, now=True))

    def _start_background(self) -> None:
        for probe in self._probes:
            self._start_thread(
                "probe", watch_probe, probe, self._over, self._on_notice, self._on_trouble
            )
        period = self._options.keep_alive
        if period or self._probes:
            self._start_thread("instance", self._instance.learn, self._over, self._on_trouble)
        if period:
            self._start_thread(
                "keep-alive",
                send_keepalives,
                period,
                self._over,
                self._send_keepalive,
                self._on_trouble,
            )

    def _start_thread(
        self, name: str, target: Callable[..., None], *args: object
    ) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, name=f"cloud_tasks-{name}", daemon=True)
        start_thread(thread)
        return thread

    def _dispatch(self) -> None:
        """Open the source and move tasks until it has ended; the dispatcher's thread."""
        try:
            self._open_remote()
            self._intake.begin(lambda: self.lifecycle.draining)
            self._dispatcher.dispatch()
        except SourceInterrupted:
            pass
        except BaseException as error:
            if not isinstance(error, CloudTasksError):
                logger.exception("receiving tasks failed")
            elif self.lifecycle.draining:
                return  # the stop has interrupted it
            self.lifecycle.post(Failure(error))
        finally:
            # After the post, so that the supervisor finds the failure before it finds all done.
            self._dispatcher.finish()

    def _open_remote(self) -> None:
        """Open source and remote sinks, which may block for ever.

        In the dispatcher's thread, because a generator must be read in the thread that made it.
        """
        try:
            with self._dispatcher.calling_source():
                self._source.open()
        except SourceError as error:
            # Watchers of the event queue shall learn the reason. Where the provider can't be
            # reached, this would only wait a second time.
            if not isinstance(error, QueueUnavailableError):
                with contextlib.suppress(EventLogError):
                    self._outbox.open()
            raise
        self._outbox.open()

    # -- callbacks, in other threads

    def _on_notice(self, notice: Notice) -> None:
        name = self._instance.get(_NAME_PATIENCE)
        self._record(self._recorder.spot_termination(notice.kind, name))
        self.lifecycle.post(notice)

    def _on_loss(self, sentence: str) -> None:
        """Report that others have removed events; called by a sink while the completer writes."""
        logger.warning("%s", sentence)
        self._completer.record(self._recorder.non_fatal_exception(sentence))

    def _on_completer_error(self, error: BaseException) -> None:
        if isinstance(error, EventLogError):
            self.lifecycle.post(WriteFailure(error))
        else:
            self.lifecycle.post(Failure(error))

    def _on_trouble(self, problem: str, error: BaseException) -> None:
        """Record a failure in the worker that hurts no task."""
        trace = traceback_of(error, frames_of(error))
        self._completer.record(self._recorder.non_fatal_exception(problem, trace))
        self._completer.flush()

    def _send_keepalive(self) -> None:
        slots, held = self._executor.slots, self._stats.running
        event = self._recorder.keep_alive(
            self._instance.get(),
            running=min(held, slots),
            slots=slots,
            waiting=max(0, held - slots) + self._source.waiting,
            draining=self.lifecycle.draining,
        )
        self._outbox.put([event], [])

    # -- the end

    def _close_source(self) -> None:
        try:
            with failing_as_source(self._source):
                self._source.close()
        except CloudTasksError as error:
            self.lifecycle.fail(Failure(error))
            self._record_failure()
            self._record_end()

    def _record_failure(self) -> None:
        """Record why the worker failed, once, in those sinks that still accept events."""
        failure = self.lifecycle.failure
        if failure is None or failure is self._recorded_failure:
            return
        self._recorded_failure = failure
        trace = traceback_of(failure, frames_of(failure))
        self._record(self._recorder.fatal_exception(str(failure), trace))

    def _record_end(self) -> None:
        """Record how the worker ended, and again if that has changed."""
        summary = self._summary()
        end = (summary.stop_reason, summary.exit_code)
        if self._started and end != self._recorded_end:
            self._recorded_end = end
            self._record(self._recorder.worker_stopped(summary))

    def _record(self, event: bytes) -> None:
        """Write an event of the worker itself at once, to those sinks that still accept events."""
        if self._supervisor.event_log_failed:
            self._outbox.put([event], [])
        else:
            self._completer.record(event)
            self._completer.flush()


def raise_if_failed(summary: RunSummary, error: CloudTasksError | None) -> RunSummary:
    """Return *summary*, or raise *error* with it where the exit code blames the worker.

    Raises:
        CloudTasksError: *error*.
    """
    if error is None or summary.exit_code not in (TROUBLE, USAGE):
        return summary
    error.summary = summary
    raise error
