"""Run tasks in the calling process and thread: for breakpoints, stepping, and tests.

    submit() ──► ProcessState ──► Alarm.armed() ──► call() ──► Outcome, already in the future
                 restored after      │                 └── raised: PostMortem, if asked for
                                     └── time limit or abort(): an exception inside the task

Events, decisions and worker_data are as with the other executors. There is no isolation: a task
that calls ``os._exit`` or crashes ends the worker. The time limit is soft: it interrupts Python
code and sleeps, but a long call into C ends first.

Threads: submit() runs the task in its caller's thread, the main one for limits and aborts to work;
abort() and shutdown() may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from cloud_tasks.executors.base import Capabilities, Executor, ExecutorOptions, LocalFlags
from cloud_tasks.executors.common import log_setup
from cloud_tasks.executors.common.call import BadResultError, call
from cloud_tasks.executors.common.exception_text import Interruption
from cloud_tasks.executors.function import FunctionSpec
from cloud_tasks.executors.interrupt import Alarm, DeadlineExceeded, Interrupted
from cloud_tasks.executors.pool.outcomes import reply_outcome
from cloud_tasks.outcome import Aborted, Measures, Outcome, TimedOut
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)


class InlineExecutor(Executor):
    """An executor whose ``submit`` runs the task before it returns."""

    capabilities = Capabilities(
        enforces_timeout=False,
        enforces_memory=False,
        isolates_crashes=False,
        live_flags=True,
        needs_main_thread=True,
    )

    def __init__(self) -> None:
        self._options: ExecutorOptions | None = None
        self._closed = False
        self._current: Future[Outcome] | None = None
        self._abort_reason = "aborted"
        self._alarm = Alarm()
        self._debugger: PostMortem | None = None

    def start(
        self, function: FunctionSpec, worker_data: WorkerData, options: ExecutorOptions
    ) -> None:
        """Set up; tasks will run in the thread that calls ``submit``."""
        if self._options is not None:
            raise RuntimeError("an executor can't be started twice")
        self._options = options
        self._function = function.function
        if options.post_mortem:
            self._debugger = PostMortem()
        self.flags = LocalFlags()
        self._worker_data = worker_data.for_task()
        self._worker_data.connect(self.flags)

    def submit(self, task: Task, *, max_runtime: float | None = None) -> Future[Outcome]:
        """Run *task* now, in this thread; the future that is returned is resolved."""
        if self._options is None or self._closed:
            raise RuntimeError("the executor is not running")
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()
        self._current = future
        submitted_at = time.monotonic()
        try:
            with self._restored():
                outcome = self._run(task, max_runtime, submitted_at)
        finally:
            self._current = None
        future.set_result(outcome)
        self._options.before_wait()
        return future

    def _run(self, task: Task, max_runtime: float | None, submitted_at: float) -> Outcome:
        assert self._options is not None
        try:
            with log_setup.task_records(task.task_id, 0), self._alarm.armed(max_runtime):
                reply = call(
                    self._function,
                    task.task_id,
                    task.data,
                    self._worker_data,
                    max_result_bytes=self._options.max_result_bytes,
                    on_raise=self._debug if self._debugger is not None else None,
                    cpu_clock=time.thread_time,
                )
        except DeadlineExceeded:
            assert max_runtime is not None
            return TimedOut(max_runtime, _interrupted_measures(submitted_at))
        except Interrupted:
            return Aborted(self._abort_reason, _interrupted_measures(submitted_at))
        return reply_outcome(reply, 0, time.monotonic() - submitted_at)

    def _debug(self, error: BaseException) -> None:
        assert self._debugger is not None
        self._alarm.lift_limit()
        self._debugger.open(error)
        # If an abort has closed the debugger, it has had its effect: the outcome is the error.
        self._alarm.lift_limit()

    @contextlib.contextmanager
    def _restored(self) -> Iterator[None]:
        """Restore afterwards what the task changes of the process; let it run an event loop."""
        # The worker's own loop runs in this thread, and asyncio.run() in a task would refuse to
        # nest. asyncio documents these two functions for implementers of loops; nothing public
        # hides a running loop.
        loop = asyncio._get_running_loop()
        state: Any = None
        if os.name == "posix":
            from cloud_tasks.executors.child.restore import ProcessState

            state = ProcessState()
        asyncio._set_running_loop(None)
        try:
            yield
        finally:
            asyncio._set_running_loop(loop)
            problem = "" if state is None else state.restore()
            if problem:
                logger.warning("what the task changed of this process stays: %s", problem)

    def abort(self, future: Future[Outcome], reason: str) -> bool:
        """Raise an exception inside the task; False if it does not run in the main thread."""
        if future is not self._current:
            return False
        self._abort_reason = reason
        return self._alarm.interrupt()

    def shutdown(
        self,
        *,
        grace: float = 0.0,
        reason: str = "the executor was shut down",
        wait: bool = True,
        now: bool = False,
    ) -> None:
        """Refuse new tasks; interrupt the running one, if any, after *grace* seconds."""
        self._closed = True
        current = self._current
        if current is not None and grace != math.inf:
            timer = threading.Timer(grace, self.abort, (current, reason))
            timer.daemon = True
            timer.start()


def _interrupted_measures(submitted_at: float) -> Measures:
    run_time = time.monotonic() - submitted_at
    return Measures(0, run_time, time.time() - run_time, run_time)


class PostMortem:
    """Open ``pdb`` where a task raised, on the terminal; warn once if that is not possible."""

    def __init__(self) -> None:
        self._warned = False

    def open(self, error: BaseException) -> None:
        """Print *error* and block until the user leaves the debugger or the worker is stopped.

        The frames are those of the task: the user's function is the outermost one. A result that
        can't be recorded has no frames, so it opens nothing.
        """
        trace = error.__traceback__
        if isinstance(error, BadResultError) or trace is None:
            return
        if sys.stdin is None or not sys.stdin.isatty():
            self._warn("the debugger needs a terminal, and standard input is none")
            return
        import pdb

        # The first frame is that of call().
        trace = trace.tb_next or trace
        try:
            traceback.print_exception(type(error), error, trace)
            pdb.post_mortem(trace)
        except Interruption:
            return  # the worker is stopped; the task had raised before
        except Exception as failure:  # noqa: BLE001 - the task's outcome stays what it is
            # To read a line can wrap an exception of a signal handler in another one.
            if not isinstance(failure.__cause__, Interruption):
                self._warn(f"the debugger failed with {failure!r}")

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: tasks that raise are recorded, and the run goes on", reason)
