"""One run: the dispatcher takes tasks in, the completer sees them off, this supervises.

With executors that need the main thread the dispatcher works in the caller's thread and the
supervisor beside it; else it is the other way round, because the source may block for ever.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import traceback
from collections.abc import Callable

from cloud_tasks.clock import Clock
from cloud_tasks.errors import CloudTasksError, EventLogError
from cloud_tasks.events.base import EventSink
from cloud_tasks.events.records import Recorder
from cloud_tasks.executors.base import Executor, ExecutorOptions
from cloud_tasks.executors.flags import FlagPage
from cloud_tasks.executors.function import FunctionSpec
from cloud_tasks.runtime.completer import PATIENCE, Completer, Listener
from cloud_tasks.runtime.dispatcher import Dispatcher
from cloud_tasks.runtime.intake import Intake
from cloud_tasks.runtime.lifecycle import (
    AllDone,
    Failure,
    Lifecycle,
    Message,
    Stop,
    Stuck,
)
from cloud_tasks.runtime.options import RunOptions
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.runtime.summary import TROUBLE, USAGE, RunSummary, StopReason
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Malformed
from cloud_tasks.termination.base import Notice, TerminationProbe
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)

#: Seconds between two tries to write events that a sink refused.
_RETRY_PERIOD = 0.5


class SourceInterrupted(BaseException):
    """Raised in the main thread, while it waits in the source, by a signal."""


class Run:
    """One run of *function* over the tasks of *source*. ``run`` blocks; the rest does not.

    Args:
        probes: asked for termination notices while it lasts.
        listener: hears of every task that is not done, with ``hear_all`` of every task.
    """

    #: Why a sink refused events, lately.
    _refusal: Exception | None = None
    #: Events can't be written, and nobody tries any more.
    _given_up = False

    def __init__(
        self,
        function: FunctionSpec,
        worker_data: WorkerData,
        *,
        source: TaskSource,
        executor: Executor,
        sinks: list[EventSink],
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
        self._flags = FlagPage.create(options.slots)
        if self.needs_main_thread:
            self._flags.close()  # nobody else maps it, so its file need not stay
        self._recorder = Recorder(clock)
        self.lifecycle = Lifecycle(executor, self._flags, options.grace)
        self._intake = Intake(source, stats, skip=options.skip, most=options.most)
        self._completer = Completer(
            source,
            sinks,
            self._recorder,
            options.rules,
            stats,
            clock,
            listener=listener,
            hear_all=hear_all,
            on_trouble=self._on_trouble,
        )
        self._dispatcher = self._make_dispatcher()
        self._over = threading.Event()
        self._cleanup = contextlib.ExitStack()

    def _make_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            self._source,
            self._intake,
            self._executor,
            self._completer,
            self._stats,
            max_runtime=self._options.max_runtime,
            draining=lambda: self.lifecycle.draining,
            on_malformed=self._on_malformed,
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
        if in_source and threading.current_thread() is threading.main_thread():
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
                self._given_up = isinstance(error, EventLogError)
                self.lifecycle.fail(Failure(error))
            else:
                self._work()
            self._finish()
        return self._result()

    def _open(self) -> None:
        self._cleanup.callback(self._flags.close)
        for sink in self._sinks:
            self._cleanup.callback(sink.close)
            sink.open()
        self._cleanup.callback(self._source.close)
        options = self._options
        self._cleanup.callback(self._executor.shutdown)
        self._executor.start(
            self._function,
            self._worker_data,
            ExecutorOptions(
                slots=options.slots,
                flags=self._flags,
                memory_limit=options.memory_limit,
                max_result_bytes=options.max_result_bytes,
                log_level=options.log_level,
                before_wait=self._completer.flush,
                on_broken=lambda error: self.lifecycle.post(Failure(error)),
            ),
        )

    def _work(self) -> None:
        for probe in self._probes:
            self._start_thread(self._watch_for_notice, probe, name="probe")
        if self.needs_main_thread:
            supervisor = self._start_thread(self._supervise, name="supervisor")
            self._dispatch()
            supervisor.join()
        else:
            self._start_thread(self._dispatch, name="dispatcher")
            self._supervise()
        self._over.set()
        self._executor.shutdown()

    def _start_thread(
        self, target: Callable[..., None], *args: object, name: str
    ) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, name=f"cloud_tasks-{name}", daemon=True)
        thread.start()
        return thread

    def _dispatch(self) -> None:
        try:
            # Here, where it may block for ever, and where a generator is read from as well.
            with self._dispatcher.in_source():
                self._source.open()
            self._stats.total = self._intake.expected()
            self._dispatcher.run()
        except SourceInterrupted:
            pass
        except Exception as error:
            if not isinstance(error, CloudTasksError):
                logger.exception("taking tasks in failed")
            self.lifecycle.post(Failure(error))
        finally:
            # Last, so that whoever finds all done finds the failure, too.
            self._dispatcher.finish()

    def _watch_for_notice(self, probe: TerminationProbe) -> None:
        notice = probe.wait(self._over)
        if notice is not None:
            self._completer.record(self._recorder.spot_termination(notice.kind))
            self._completer.flush()
            self.lifecycle.post(notice)

    def _supervise(self) -> None:
        """Obey the inbox until nothing runs any more."""
        while True:
            failing = self._completer.failing_for
            message = self.lifecycle.next(math.inf if failing is None else _RETRY_PERIOD)
            if message is not None:
                self._obey(message)
            if failing is not None:
                self._retry_events(failing)
            # The dispatcher may be blocked in the source for ever: nobody waits for it then.
            if self._dispatcher.is_done():
                self._completer.flush()
                if self._completer.is_clean or self._given_up:
                    break
        while (message := self.lifecycle.next(0)) is not None:
            self._obey(message)

    def _obey(self, message: Message) -> None:
        if isinstance(message, Stop):
            self.lifecycle.stop(message)
        elif isinstance(message, Notice):
            self.lifecycle.notice(message)
        elif isinstance(message, Failure):
            self.lifecycle.fail(message)
        elif isinstance(message, Stuck):
            logger.error("%s; no new task starts until it works again", message.error)
            self._refusal = message.error
            self._dispatcher.pause(True)
        self._dispatcher.wake()

    def _retry_events(self, failing: float) -> None:
        if self._completer.retry():
            logger.warning("events are written again")
            self._dispatcher.pause(False)
        elif failing > PATIENCE and not self._given_up:
            self._given_up = True
            error = EventLogError(f"{self._refusal}; tried for {PATIENCE:g} s")
            logger.error("%s: giving up", error)
            self.lifecycle.fail(Failure(error, now=True))
            self._dispatcher.wake()

    # -- what others report

    def _on_trouble(self, error: Exception) -> None:
        self.lifecycle.post(Stuck(error) if isinstance(error, EventLogError) else Failure(error))

    def _on_malformed(self, malformed: list[Malformed]) -> None:
        for entry in malformed:
            self._completer.record(self._recorder.non_fatal_exception(f"no task: {entry}"))
            logger.warning("no task: %s", entry)
        self._completer.flush()

    # -- the end

    def _finish(self) -> None:
        """Write the last events, as far as they can be written."""
        failure = self.lifecycle.failure
        if failure is not None and not self._given_up:
            trace = "".join(traceback.format_exception(failure))
            self._completer.record(self._recorder.fatal_exception(str(failure), trace))
            self._completer.flush()

    def _result(self) -> RunSummary:
        reason = self.lifecycle.reason
        if reason is StopReason.DONE and self._intake.limited:
            reason = StopReason.MAX_NUM_TASKS
        error = self.lifecycle.failure or self._intake.error()
        summary = self._stats.summary(reason, error)
        if error is None or summary.exit_code not in (TROUBLE, USAGE):
            return summary
        if not isinstance(error, CloudTasksError):
            wrapped = CloudTasksError(f"a defect in cloud_tasks: {error!r}")
            wrapped.summary = summary
            raise wrapped from error
        error.summary = summary
        raise error
