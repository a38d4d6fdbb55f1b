"""Any ``concurrent.futures.Executor`` in the place of ours: Dask, mpi4py, loky's own pool.

The outcome is made in the far process, so what a task returned, raised or exited with is exact
everywhere. What a foreign pool can't do is said by ``capabilities``: nobody kills its processes,
so a task over its time is reported and runs on, and keeps its slot until it returns.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import threading
import time
from collections import deque
from concurrent.futures import BrokenExecutor, Future, InvalidStateError, ThreadPoolExecutor
from concurrent.futures import Executor as ForeignExecutor
from dataclasses import replace

from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.executors.base import Capabilities, Executor, ExecutorOptions
from cloud_tasks.executors.child.foreign import Answer, Kit, run_here, run_there
from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.call import describe
from cloud_tasks.executors.common.flag_page import FlagPage
from cloud_tasks.executors.function import FunctionSpec, serialise, serialise_worker_data
from cloud_tasks.executors.pool.outcomes import after_death, reply_outcome
from cloud_tasks.outcome import Aborted, Exited, Measures, Outcome, TimedOut
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData


class _Job:
    """One task on its way.

    Attributes:
        cell: its slot.
        sent: when the pool got it, monotonic.
        outcome: what is told of it; the pool may go on with it all the same.
    """

    __slots__ = ("cell", "foreign", "future", "max_runtime", "number", "outcome", "sent", "task")

    def __init__(self, number: int, task: Task, max_runtime: float | None) -> None:
        self.number = number
        self.task = task
        self.max_runtime = math.inf if max_runtime is None else max_runtime
        self.future: Future[Outcome] = Future()
        self.foreign: Future[Answer] | None = None
        self.outcome: Outcome | None = None
        self.cell = -1
        self.sent = 0.0


class FuturesExecutor(Executor):
    """Adapts *pool*, which stays its owner's: it is not shut down here.

    Log records of its tasks go where the far process sends them, without task id and slot.
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
        self._over: set[_Job] = set()
        self._cells: list[int] = []
        self._number = 0
        self._started = self._closed = self._broken = False
        self._close_at = math.inf
        self._close_reason = ""

    def start(
        self, function: FunctionSpec, worker_data: WorkerData, options: ExecutorOptions
    ) -> None:
        """Get ready to hand tasks to the pool, ``options.slots`` at a time."""
        if self._started:
            raise RuntimeError("an executor can't be started twice")
        self._options = options
        self.slots = options.slots
        self._cells = list(range(options.slots))
        self._main = function.main
        payload = data = b""
        if not self._in_threads:
            # Nobody loads the main program over there.
            payload = function.pickled_for_anywhere()
            data = serialise_worker_data(worker_data, None)
        # Only now, since the lines above may fail, is there something to clean up.
        self.flags = self._page = flags = FlagPage.create(options.slots)
        if self._in_threads:
            mine = worker_data.for_task()
            mine.connect(flags)
            self._local = (function.function, mine, flags)
        else:
            self._kit: Kit = (hashlib.sha256(payload + data).digest(), payload, data, flags.path)
        self._started = True
        self._timer = threading.Thread(target=self._watch, name="cloud_tasks-timer", daemon=True)
        self._timer.start()

    def submit(self, task: Task, *, max_runtime: float | None = None) -> Future[Outcome]:
        """Hand *task* to the pool when a slot is free. Never blocks, unless the pool does."""
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
            self._tell(job, Aborted("the pool is broken"))
        else:
            self._feed()
        return job.future

    def _feed(self) -> None:
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
            self._hand_over(job)

    def _hand_over(self, job: _Job) -> None:
        place = (job.cell, job.number)
        limit = self._options.max_result_bytes
        try:
            if self._in_threads:
                foreign = self._pool.submit(run_here, self._local, job.task, place, limit)
            else:
                message = serialise((job.task.task_id, dict(job.task.data)), None)
                foreign = self._pool.submit(run_there, self._kit, message, place, limit)
        except BrokenExecutor as error:
            self._break(error)
            self._finish(job, Exited(None, str(error)))
        except Exception as error:  # noqa: BLE001 - pickling runs the user's classes
            outcome = reply_outcome(
                protocol.RAISED, describe(error), False, False, self._measures(job)
            )
            self._finish(job, outcome)
        else:
            job.foreign = foreign
            foreign.add_done_callback(lambda done: self._on_done(job, done))

    def _on_done(self, job: _Job, done: Future[Answer]) -> None:
        outcome: Outcome
        error = None if done.cancelled() else done.exception()
        if isinstance(error, BrokenExecutor):
            # First of all: from 3.12 on, a broken ProcessPoolExecutor calls us with its own lock
            # held, and would wait for ever for itself if we gave it another task.
            self._break(error)
        if done.cancelled():
            outcome = Aborted("the pool cancelled it", self._measures(job))
        elif error is not None:
            # The far side answers whatever the task does: this is the pool's own trouble.
            outcome = Exited(None, f"{type(error).__name__}: {error}", self._measures(job))
        else:
            outcome = self._outcome(job, done.result())
        self._finish(job, outcome)

    def _outcome(self, job: _Job, answer: Answer) -> Outcome:
        kind, body, retry, replaced_nan, started, run_time, cpu_time = answer
        measures = Measures(job.cell, time.monotonic() - job.sent, started, run_time, cpu_time)
        if run_time > job.max_runtime:
            return TimedOut(job.max_runtime, measures)
        return reply_outcome(kind, body, retry, replaced_nan, measures)

    def _measures(self, job: _Job) -> Measures:
        return Measures(job.cell, time.monotonic() - job.sent)

    def _finish(self, job: _Job, outcome: Outcome) -> None:
        """Free the slot, start the next task, then tell the outcome unless it was told before."""
        with self._condition:
            self._running.discard(job)
            self._over.add(job)
            job.outcome = job.outcome or outcome
            self._cells.append(job.cell)
            self._condition.notify_all()
        self._feed()
        self._tell(job, outcome)
        with self._condition:
            self._over.discard(job)

    def _tell(self, job: _Job, outcome: Outcome) -> None:
        with self._condition:
            job.outcome = outcome = job.outcome or outcome
        # Outside the lock: whoever waits for the outcome may come back to us. Another thread may
        # be about to tell it, and nobody knows when it will, so the second one does it as well.
        with contextlib.suppress(InvalidStateError):
            job.future.set_result(outcome)
            self._options.before_wait()

    def _break(self, error: BaseException) -> None:
        with self._condition:
            if self._broken:
                return
            self._broken = True
            waiting, self._waiting = list(self._waiting), deque()
        for job in waiting:
            if job.future.set_running_or_notify_cancel():
                self._tell(job, Aborted("the pool is broken"))
        self._options.on_broken(ExecutorBrokenError(f"the pool is broken: {error}"))

    def _watch(self) -> None:
        """Report, at its deadline, every task that is over its time."""
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
                started = self._page.started(job.cell, job.number, job.sent)
                verdict = TimedOut(job.max_runtime)
                self._tell(job, after_death(verdict, job.cell, job.sent, started))
        self._abandon()

    def _deadline(self, job: _Job, now: float) -> float:
        # Where the flag file is not shared the start is never seen: then nothing is reported
        # before the task returns, for a report must not come early.
        started = self._page.started(job.cell, job.number, job.sent)
        return max(job.sent, now if started is None else started) + job.max_runtime

    def abort(self, future: Future[Outcome], reason: str) -> bool:
        """Withdraw the task if the pool has not begun it; else it goes on, and this is False."""
        with self._condition:
            job = next((j for j in (*self._waiting, *self._running) if j.future is future), None)
            if job is None or future.done():
                return False
            waits = job in self._waiting
            if waits:
                self._waiting.remove(job)
                if not future.set_running_or_notify_cancel():
                    return True
        # While it is handed over, this moment, there is nothing yet to cancel.
        if not waits and (job.foreign is None or not job.foreign.cancel()):
            return False
        self._tell(job, Aborted(reason))
        return True

    def shutdown(
        self,
        *,
        grace: float = 0.0,
        reason: str = "the executor was shut down",
        wait: bool = True,
        now: bool = False,
    ) -> None:
        """Take nothing new; after *grace* seconds abandon what the pool goes on with."""
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
                self._tell(job, Aborted(reason))
        if not wait:
            return
        self._timer.join()
        self._page.close()

    def _abandon(self) -> None:
        with self._condition:
            running, over = list(self._running), list(self._over)
        for job in running:
            if job.foreign is not None:
                job.foreign.cancel()
            self._tell(job, Aborted(self._close_reason, self._measures(job)))
        # Whose task has ended may be kept from telling it, by a pool that takes no other task.
        for job in over:
            assert job.outcome is not None
            self._tell(job, job.outcome)
