"""Adapt any ``concurrent.futures.Executor``: Dask, mpi4py, loky's own pool, a thread pool.

    submit() ──► _waiting ──► _start_waiting() ──► pool.submit() ──► child/foreign.py calls the task
                 (no slot)    (a slot is free)                             │
    future ◄── _resolve() ◄── _finish() frees the slot ◄── _on_done() ◄────┘
         ▲
         └── the timer thread: time limit exceeded, or shutdown's grace is over

The reply is made where the task runs (child/foreign.py, which this module imports), so results,
exceptions and exit codes are exact. The pool's processes can't be killed: a task over its time is
reported as timed out, goes on, and keeps its slot until it returns.

Threads: the pool calls _on_done() in any thread of its own; _condition guards all that changes.
Futures are resolved outside of it, because their callbacks may call submit().
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import threading
import time
from collections import deque
from concurrent.futures import BrokenExecutor, Future, InvalidStateError, ThreadPoolExecutor
from concurrent.futures import Executor as ForeignExecutor
from dataclasses import replace

from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.executors.base import Capabilities, Executor, ExecutorOptions
from cloud_tasks.executors.child.foreign import Kit, run_in_process, run_in_thread
from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.call import Reply, describe
from cloud_tasks.executors.common.exception_text import message_of, name_of
from cloud_tasks.executors.common.flag_page import WorkerPage
from cloud_tasks.executors.function import FunctionSpec, serialise, serialise_worker_data
from cloud_tasks.executors.pool.outcomes import after_death, reply_outcome
from cloud_tasks.outcome import Aborted, Exited, Measures, Outcome, TimedOut
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)


class _Job:
    """One submitted task.

    Attributes:
        cell: its slot; -1 until it has one.
        sent: when it was submitted to the pool, monotonic.
        outcome: what it is reported as; the pool may still be running it.
    """

    __slots__ = ("cell", "foreign", "future", "max_runtime", "number", "outcome", "sent", "task")

    def __init__(self, number: int, task: Task, max_runtime: float | None) -> None:
        self.number = number
        self.task = task
        self.max_runtime = math.inf if max_runtime is None else max_runtime
        self.future: Future[Outcome] = Future()
        self.foreign: Future[Reply] | None = None
        self.outcome: Outcome | None = None
        self.cell = -1
        self.sent = 0.0


class FuturesExecutor(Executor):
    """An executor that runs tasks in *pool*, which it does not shut down.

    Log records of tasks go where the pool's processes send them, without task id and slot.
    """

    capabilities = Capabilities(
        enforces_timeout=False, enforces_memory=False, isolates_crashes=False, live_flags=False
    )

    def __init__(self, pool: ForeignExecutor) -> None:
        self._pool = pool
        self._in_threads = isinstance(pool, ThreadPoolExecutor)
        if type(pool).__module__.partition(".")[0] in ("concurrent", "loky"):
            # Its processes are on this machine and can map the flag file.
            self.capabilities = replace(self.capabilities, live_flags=True)
        self._condition = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._running: set[_Job] = set()
        #: Jobs that have ended, until their futures are resolved.
        self._finishing: set[_Job] = set()
        self._cells: list[int] = []
        self._number = 0
        self._started = self._closed = self._broken = False
        self._close_at = math.inf
        self._close_reason = ""

    def start(
        self, function: FunctionSpec, worker_data: WorkerData, options: ExecutorOptions
    ) -> None:
        """Set up to submit tasks to the pool, ``options.slots`` at a time."""
        if self._started:
            raise RuntimeError("an executor can't be started twice")
        self._options = options
        self.slots = options.slots
        self._cells = list(range(options.slots))
        self._main = function.main
        payload = data = b""
        if not self._in_threads:
            payload = function.pickled(loads_main=False)
            data = serialise_worker_data(worker_data, None)
        # Only now, since the lines above may fail, is there something to clean up.
        self.flags = self._page = flags = WorkerPage(options.slots)
        if self._in_threads:
            mine = worker_data.for_task()
            mine.connect(flags)
            self._local = (function.function, mine, flags)
        else:
            self._kit: Kit = (hashlib.sha256(payload + data).digest(), payload, data, flags.address)
        self._started = True
        self._timer = threading.Thread(target=self._watch, name="cloud_tasks-timer", daemon=True)
        self._timer.start()

    def submit(self, task: Task, *, max_runtime: float | None = None) -> Future[Outcome]:
        """Submit *task* to the pool when a slot is free. Never blocks, unless the pool does."""
        with self._condition:
            if not self._started or self._closed:
                raise RuntimeError("the executor is not running")
            self._number += 1
            job = _Job(self._number, task, max_runtime)
            broken = self._broken
            if not broken:
                self._waiting.append(job)
        if broken:
            job.future.set_running_or_notify_cancel()
            self._resolve(job, Aborted("the pool is broken"))
        else:
            self._start_waiting()
        return job.future

    def _start_waiting(self) -> None:
        while True:
            with self._condition:
                if not self._waiting or not self._cells:
                    return
                job = self._waiting.popleft()
                if not job.future.set_running_or_notify_cancel():
                    continue
                job.cell = self._cells.pop()
                job.sent = time.monotonic()
                self._running.add(job)
                self._condition.notify_all()
            self._submit_to_pool(job)

    def _submit_to_pool(self, job: _Job) -> None:
        place = (job.cell, job.number)
        limit = self._options.max_result_bytes
        try:
            if self._in_threads:
                foreign = self._pool.submit(run_in_thread, self._local, job.task, place, limit)
            else:
                message = serialise((job.task.task_id, dict(job.task.data)), None)
                foreign = self._pool.submit(run_in_process, self._kit, message, place, limit)
        except BrokenExecutor as error:
            self._on_pool_broken(error)
            self._finish(job, Exited(None, message_of(error)))
        except BaseException as error:  # noqa: BLE001 - pickling runs the user's classes
            self._finish(job, self._outcome(job, Reply(protocol.RAISED, describe(error))))
        else:
            job.foreign = foreign
            foreign.add_done_callback(lambda done: self._on_done(job, done))

    def _on_done(self, job: _Job, done: Future[Reply]) -> None:
        try:
            outcome = self._outcome_of(job, done)
        except BaseException as error:
            # The pool would log and drop it, and the worker would wait for ever.
            logger.exception("the pool's answer for task %r is no reply", job.task.task_id)
            outcome = Exited(None, f"the pool's answer is no reply: {error!r}", self._measures(job))
        self._finish(job, outcome)

    def _outcome_of(self, job: _Job, done: Future[Reply]) -> Outcome:
        error = None if done.cancelled() else done.exception()
        if isinstance(error, BrokenExecutor):
            # Before _finish(): from 3.12 on, a broken ProcessPoolExecutor calls this with its own
            # lock held, and a submit() from here would wait for that lock for ever.
            self._on_pool_broken(error)
        if done.cancelled():
            return Aborted("the pool cancelled it", self._measures(job))
        if error is not None:
            # A task's own exception is a reply, so this one is the pool's.
            return Exited(None, f"{name_of(error)}: {message_of(error)}", self._measures(job))
        return self._outcome(job, done.result())

    def _outcome(self, job: _Job, reply: Reply) -> Outcome:
        outcome = reply_outcome(reply, job.cell, time.monotonic() - job.sent)
        late = reply.run_time > job.max_runtime
        return TimedOut(job.max_runtime, outcome.measures) if late else outcome

    def _measures(self, job: _Job) -> Measures:
        return Measures(job.cell, time.monotonic() - job.sent)

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        """Free the slot, start the next task, then resolve the future unless it is resolved."""
        with self._condition:
            self._running.discard(job)
            self._finishing.add(job)
            job.outcome = job.outcome or outcome
            self._cells.append(job.cell)
            self._condition.notify_all()
        self._start_waiting()
        self._resolve(job, outcome)
        with self._condition:
            self._finishing.discard(job)

    def _resolve(self, job: _Job, outcome: Outcome) -> None:
        """Resolve the job's future; an outcome that was decided earlier beats *outcome*."""
        with self._condition:
            job.outcome = outcome = job.outcome or outcome
        # Two threads may be here for one job. The one that decided may be delayed for long, so
        # the other does not wait for it but sets the same outcome.
        with contextlib.suppress(InvalidStateError):
            job.future.set_result(outcome)
            self._options.before_wait()

    def _on_pool_broken(self, error: BaseException) -> None:
        with self._condition:
            if self._broken:
                return
            self._broken = True
            waiting, self._waiting = list(self._waiting), deque()
        # First, so that the waiting ones count as stopped with the run, not as tasks that failed.
        self._options.on_broken(ExecutorBrokenError(f"the pool is broken: {message_of(error)}"))
        for job in waiting:
            if job.future.set_running_or_notify_cancel():
                self._resolve(job, Aborted("the pool is broken"))

    def _watch(self) -> None:
        try:
            self._watch_limits()
        except BaseException as error:
            logger.exception("watching the time limits of tasks failed")
            self._options.on_broken(ExecutorBrokenError(f"a defect in the executor: {error!r}"))

    def _watch_limits(self) -> None:
        """Report every task that exceeds its time limit, until shutdown; the timer thread."""
        while True:
            with self._condition:
                now = time.monotonic()
                if self._closed and (not self._running or self._close_at <= now):
                    break
                due = [(self._deadline(job, now), job) for job in self._running]
                pending = [moment for moment, job in due if job.outcome is None]
                late = [job for moment, job in due if moment <= now and job.outcome is None]
                if not late:
                    nearest = min([*pending, self._close_at])
                    self._condition.wait(None if nearest == math.inf else nearest - now)
            for job in late:
                started = self._page.started_at(job.cell, job.number, job.sent)
                timed_out = TimedOut(job.max_runtime)
                self._resolve(job, after_death(timed_out, job.cell, job.sent, started))
        self._abandon()

    def _deadline(self, job: _Job, now: float) -> float:
        # On another machine the flag page is not shared and the start never seen. Then nothing is
        # reported before the task returns, because a report must not come early.
        started = self._page.started_at(job.cell, job.number, job.sent)
        return max(job.sent, now if started is None else started) + job.max_runtime

    def abort(self, future: Future[Outcome], reason: str) -> bool:
        """Cancel the task if the pool has not begun it; else return False, and it goes on."""
        with self._condition:
            job = next((j for j in (*self._waiting, *self._running) if j.future is future), None)
            if job is None or future.done():
                return False
            waits = job in self._waiting
            if waits:
                self._waiting.remove(job)
                if not future.set_running_or_notify_cancel():
                    return True
        # While another thread is in _submit_to_pool() with it, there is nothing to cancel yet.
        if not waits and (job.foreign is None or not job.foreign.cancel()):
            return False
        self._resolve(job, Aborted(reason))
        return True

    def shutdown(
        self,
        *,
        grace: float = 0.0,
        reason: str = "the executor was shut down",
        wait: bool = True,
        now: bool = False,
    ) -> None:
        """Refuse new tasks; after *grace* seconds stop waiting for those that still run."""
        with self._condition:
            if not self._started:
                return
            self._closed = True
            end = time.monotonic() + grace
            if end < self._close_at:
                self._close_at, self._close_reason = end, reason
            waiting, self._waiting = list(self._waiting), deque()
            self._condition.notify_all()
        for job in waiting:
            if job.future.set_running_or_notify_cancel():
                self._resolve(job, Aborted(reason))
        if not wait:
            return
        self._timer.join()
        self._page.close()

    def _abandon(self) -> None:
        with self._condition:
            running, finishing = list(self._running), list(self._finishing)
        for job in running:
            if job.foreign is not None:
                job.foreign.cancel()
            self._resolve(job, Aborted(self._close_reason, self._measures(job)))
        # The thread in _finish() may be blocked in a pool.submit() that accepts no other task.
        for job in finishing:
            assert job.outcome is not None
            self._resolve(job, job.outcome)
