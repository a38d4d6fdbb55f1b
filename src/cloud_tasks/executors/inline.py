"""Tasks in the calling process and thread: for breakpoints, stepping, and tests.

Everything else is as with the other executors: the same events, decisions and worker_data. What
can't be held to is isolation: a task that calls ``os._exit`` or crashes takes the worker along.
The time limit is soft: it interrupts Python code and sleeps, and a long call into C ends first.
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
from cloud_tasks.executors.common.call import BadResultError, Interruption, Reply, call
from cloud_tasks.executors.function import FunctionSpec
from cloud_tasks.executors.interrupt import Alarm, Overdue, Rung
from cloud_tasks.executors.pool.outcomes import reply_outcome
from cloud_tasks.outcome import Aborted, Measures, Outcome, TimedOut
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)


class InlineExecutor(Executor):
    """Runs a task while ``submit`` waits for it."""

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
        """Get ready; tasks will run in the thread that calls ``submit``."""
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
        """Run *task* now, in this thread; returns when it is over."""
        if self._options is None or self._closed:
            raise RuntimeError("the executor is not running")
        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()
        self._current = future
        given = time.monotonic()
        try:
            with self._surroundings():
                outcome = self._run(task, max_runtime, given)
        finally:
            self._current = None
        future.set_result(outcome)
        self._options.before_wait()
        return future

    def _run(self, task: Task, max_runtime: float | None, given: float) -> Outcome:
        assert self._options is not None
        try:
            with log_setup.stamped(task.task_id, 0), self._alarm.armed(max_runtime):
                reply = call(
                    self._function,
                    task.task_id,
                    task.data,
                    self._worker_data,
                    max_result_bytes=self._options.max_result_bytes,
                    on_raise=self._look_at if self._debugger is not None else None,
                    cpu_clock=time.thread_time,
                )
        except Overdue:
            assert max_runtime is not None
            return TimedOut(max_runtime, _interrupted(given))
        except Rung:
            return Aborted(self._abort_reason, _interrupted(given))
        return _outcome(reply, given)

    def _look_at(self, error: BaseException) -> None:
        assert self._debugger is not None
        self._alarm.give_time()
        self._debugger.open(error)
        self._alarm.give_time()  # if it was an abort that ended it: enough is said

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """Put back afterwards what the task changes of the process; let it run an event loop."""
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
            if state is not None and not state.restore():
                logger.warning("what the task changed of this process could not be put back")

    def abort(self, future: Future[Outcome], reason: str) -> bool:
        """Raise an exception inside the task, if it runs in the main thread."""
        if future is not self._current:
            return False
        self._abort_reason = reason
        return self._alarm.ring()

    def shutdown(
        self,
        *,
        grace: float = 0.0,
        reason: str = "the executor was shut down",
        wait: bool = True,
        now: bool = False,
    ) -> None:
        """Take nothing new; interrupt the task that runs, if any, after *grace* seconds."""
        self._closed = True
        current = self._current
        if current is not None and grace != math.inf:
            timer = threading.Timer(grace, self.abort, (current, reason))
            timer.daemon = True
            timer.start()


def _interrupted(given: float) -> Measures:
    run_time = time.monotonic() - given
    return Measures(0, run_time, time.time() - run_time, run_time)


def _outcome(reply: Reply, given: float) -> Outcome:
    measures = Measures(0, time.monotonic() - given, reply.started, reply.run_time, reply.cpu_time)
    return reply_outcome(reply.kind, reply.body, reply.retry, reply.replaced_nan, measures)


# MERGED: Looking at a task that raised, where it raised: Python's debugger on the terminal.


class PostMortem:
    """Opens ``pdb`` on an exception, in the calling thread; says once if it can't."""

    def __init__(self) -> None:
        self._warned = False

    def open(self, error: BaseException) -> None:
        """Show *error*, and block until the person has seen enough or the worker is stopped.

        The frames are those of the task: the user's function is the outermost one. What the
        function returned and can't be recorded has no frames to look at.
        """
        trace = error.__traceback__
        if isinstance(error, BadResultError) or trace is None:
            return
        if sys.stdin is None or not sys.stdin.isatty():
            self._warn("the debugger needs a terminal, and standard input is none")
            return
        import pdb

        # The first frame is ours, that of the call.
        trace = trace.tb_next or trace
        try:
            traceback.print_exception(type(error), error, trace)
            pdb.post_mortem(trace)
        except Interruption:
            return  # the worker is stopped; the task had raised before
        except Exception as trouble:  # noqa: BLE001 - the task's outcome stays what it is
            # Reading a line can wrap what a signal handler raises.
            if not isinstance(trouble.__cause__, Interruption):
                self._warn(f"the debugger failed with {trouble!r}")

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: tasks that raise are recorded, and the run goes on", reason)
