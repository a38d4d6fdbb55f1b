"""One run: the dispatcher takes tasks in, the completer sees them off, this supervises.

With executors that need the main thread the dispatcher works in the caller's thread and the
supervisor beside it; else it is the other way round, because the source may block for ever.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import traceback
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
from cloud_tasks.executors.function import FunctionSpec
from cloud_tasks.runtime.background import listen, tell_alive
from cloud_tasks.runtime.completer import Completer, Listener
from cloud_tasks.runtime.dispatcher import Dispatcher
from cloud_tasks.runtime.intake import Intake
from cloud_tasks.runtime.lifecycle import (
    LONGEST_SLEEP,
    AllDone,
    Failure,
    Lifecycle,
    Stop,
    Stuck,
    Supervisor,
)
from cloud_tasks.runtime.options import RunOptions
from cloud_tasks.runtime.outbox import Outbox
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.summary import TROUBLE, USAGE, RunSummary, StopReason
from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)


class SourceInterrupted(BaseException):
    """Raised in the main thread, while it waits in the source, by a signal."""


class Run:
    """One run of *function* over the tasks of *source*. ``run`` blocks; the rest does not.

    Args:
        sinks: get every event at once.
        far_sinks: get every event in batches, before its task is settled.
        probes: asked for termination notices while it lasts.
        listener: hears of every task that is not done, with ``hear_all`` of every task.
    """

    #: The failure that an event was written of.
    _told_of: Exception | None = None

    def __init__(
        self,
        function: FunctionSpec,
        worker_data: WorkerData,
        *,
        source: TaskSource,
        executor: Executor,
        sinks: list[EventSink],
        far_sinks: list[EventSink],
        probes: list[TerminationProbe],
        options: RunOptions,
        clock: Clock,
        stats: Stats,
        listener: Listener,
        hear_all: bool,
    ) -> None:
        self._function = function
        self._worker_data = worker_data
        self._source = source
        self._executor = executor
        self._sinks = sinks
        self._probes = probes
        self._options = options
        self._stats = stats
        self._recorder = Recorder(clock)
        self.lifecycle = Lifecycle(executor, options.grace, lambda: stats.running)
        self._intake = Intake(
            source, stats, skip=options.skip, most=options.most, selection=options.selection
        )
        self._outbox = self._make_outbox(far_sinks)
        self._completer = self._make_completer(clock, listener, hear_all)
        self._dispatcher = self._make_dispatcher()
        self._supervisor = Supervisor(
            self.lifecycle, self._dispatcher, self._completer, source, self._outbox, clock
        )
        self._over = threading.Event()
        self._cleanup = contextlib.ExitStack()

    def _make_outbox(self, sinks: list[EventSink]) -> Outbox:
        return Outbox(
            self._source,
            sinks,
            on_full=lambda full: self._dispatcher.pause("unsent events", full),
            on_failure=lambda error: self.lifecycle.post(Failure(error, now=True)),
        )

    def _make_completer(self, clock: Clock, listener: Listener, hear_all: bool) -> Completer:
        return Completer(
            self._source,
            self._sinks,
            self._recorder,
            self._options.rules,
            self._stats,
            clock,
            outbox=self._outbox,
            listener=listener,
            hear_all=hear_all,
            on_trouble=self._on_trouble,
            failure_limit=self._options.failure_limit,
            on_too_many=lambda: self.lifecycle.post(Stop(StopReason.TOO_MANY_FAILURES)),
        )

    def _make_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self._source,
            self._intake,
            self._executor,
            self._completer,
            self._stats,
            max_runtime=self._options.max_runtime,
            draining=lambda: self.lifecycle.draining,
            on_idle=lambda: self.lifecycle.post(AllDone()),
        )

    @property
    def needs_main_thread(self) -> bool:
        """``run`` must be called in the thread that tasks shall run in."""
        return self._executor.capabilities.needs_main_thread

    # -- from any thread

    def stop(self, reason: StopReason, *, now: bool = False) -> None:
        """Drain; *now*, or the second time, kill. From a signal handler, too."""
        self.lifecycle.post(Stop(reason, now))
        in_source = self.needs_main_thread and self._dispatcher.receiving
        # Raised anywhere, it may leave a lock taken: not where there is another way.
        if not in_source or self._source.limits.heeds_drain:
            return
        if threading.current_thread() is threading.main_thread():
            raise SourceInterrupted

    # -- the run

    def run(self) -> RunSummary:
        """Run all tasks; blocks until the last one is over and no process is left.

        Raises:
            CloudTasksError: the worker or its source failed; with ``summary``.
        """
        with self._cleanup:
            try:
                self._open()
            except CloudTasksError as error:
                self._supervisor.given_up = isinstance(error, EventLogError | HistoryError)
                self.lifecycle.fail(Failure(error))
            else:
                self._work()
            self._tell_of_failure()
            self._supervisor.see_off()
            self._tell_of_failure()
        return self._result()

    def _open(self) -> None:
        self._cleanup.callback(self._outbox.close)
        self._options.selection.prepare(lambda: self.lifecycle.draining)
        for sink in self._sinks:
            self._cleanup.callback(sink.close)
            sink.open()
        self._cleanup.callback(self._source.close)
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
        self._start_side_jobs()
        if self.needs_main_thread:
            supervisor = self._start_thread(self._supervisor.work, name="supervisor")
            self._dispatch()
            while supervisor.is_alive():
                supervisor.join(LONGEST_SLEEP)
        else:
            self._start_thread(self._dispatch, name="dispatcher")
            self._supervisor.work()
        self._over.set()
        # Now, because what follows can take long: a kill then leaves no process or file behind.
        self._executor.shutdown()

    def _start_side_jobs(self) -> None:
        for probe in self._probes:
            self._start_thread(listen, probe, self._over, self._on_notice, name="probe")
        period = self._options.keep_alive
        if period:
            job = (tell_alive, period, self._over, self._options.instance_id, self._tell_alive)
            self._start_thread(*job, name="keep-alive")

    def _tell_alive(self, instance_id: str | None) -> None:
        self._outbox.put([self._recorder.keep_alive(instance_id, self._stats.running)], [])

    def _start_thread(
        self, target: Callable[..., None], *args: object, name: str
    ) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, name=f"cloud_tasks-{name}", daemon=True)
        thread.start()
        return thread

    def _dispatch(self) -> None:
        try:
            self._open_ends()
            self._intake.begin(lambda: self.lifecycle.draining)
            self._dispatcher.run()
        except SourceInterrupted:
            pass
        except Exception as error:
            if not isinstance(error, CloudTasksError):
                logger.exception("taking tasks in failed")
            elif self.lifecycle.draining:
                return  # it was told to end, and nothing more is wanted of it
            self.lifecycle.post(Failure(error))
        finally:
            # Last, so that whoever finds all done finds the failure, too.
            self._dispatcher.finish()

    def _open_ends(self) -> None:
        """Open what may block for ever, in the thread that a generator is read from as well."""
        try:
            with self._dispatcher.in_source():
                self._source.open()
        except SourceError as error:
            # Whoever watches from afar shall hear why, but nobody shall wait a second time.
            if not isinstance(error, QueueUnavailableError):
                with contextlib.suppress(EventLogError):
                    self._outbox.open()
            raise
        self._outbox.open()

    # -- what others report

    def _on_notice(self, notice: Notice) -> None:
        self._completer.record(self._recorder.spot_termination(notice.kind))
        self._completer.flush()
        self.lifecycle.post(notice)

    def _on_trouble(self, error: Exception) -> None:
        self.lifecycle.post(Stuck(error) if isinstance(error, EventLogError) else Failure(error))

    # -- the end

    def _tell_of_failure(self) -> None:
        """Write why the worker failed, if it did, to whoever can still be told."""
        failure = self.lifecycle.failure
        if failure is None or failure is self._told_of:
            return
        self._told_of = failure
        trace = "".join(traceback.format_exception(failure))
        event = self._recorder.fatal_exception(str(failure), trace)
        if self._supervisor.given_up:
            self._outbox.put([event], [])  # the event log takes nothing more
        else:
            self._completer.record(event)
            self._completer.flush()

    def _result(self) -> RunSummary:
        reason = self.lifecycle.reason
        if reason is StopReason.DONE and self._intake.limited:
            reason = StopReason.MAX_NUM_TASKS
        error = self.lifecycle.failure or self._intake.error()
        return raise_if_failed(self._stats.summary(reason, error), error)


def raise_if_failed(summary: RunSummary, error: Exception | None) -> RunSummary:
    """Return *summary*, unless *error* was the worker's own trouble: then raise that with it.

    Raises:
        CloudTasksError: *error*; what is none of ours is a defect, and wrapped.
    """
    if error is None or summary.exit_code not in (TROUBLE, USAGE):
        return summary
    if not isinstance(error, CloudTasksError):
        wrapped = CloudTasksError(f"a defect in cloud_tasks: {error!r}")
        wrapped.summary = summary
        raise wrapped from error
    error.summary = summary
    raise error
