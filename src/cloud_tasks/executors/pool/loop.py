"""Run the loop of a pool: one thread that sends jobs, receives replies, and handles deaths.

::

    submit() ─► queue ─► Scheduler ─► child: function(task) ─► on_reply ─► Outcome ─► future
                   ▲         │                    │
                   │         └─ deadline, ─► kill ─► on_exit ─────────────► Outcome ─► future
                   │            abort()              │
                   └──────── not begun, recalled ────┘

One turn: commands of other threads, assigning queued jobs, waiting for descriptors, replies and
deaths, deadlines.

Threads: ``submit``, ``call_soon``, ``busy`` and ``running`` may be called from any thread; all else
is the loop's own. ``call_soon`` brings the commands (``close``, ``abort``, ...) into it.

A reply that arrived before a death counts: the socket is drained before the exit code is read. A
child gets its next task before the outcome of the last one is resolved, which may take long.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.executors.base import ExecutorOptions, Running
from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.flag_page import FlagPage
from cloud_tasks.executors.pool.channel import ForgedFrameError
from cloud_tasks.executors.pool.crash_info import CrashCollector, OomWatch
from cloud_tasks.executors.pool.outcomes import after_death, from_reply
from cloud_tasks.executors.pool.pipelining import depth_for
from cloud_tasks.executors.pool.poller import Poller, WakeUp
from cloud_tasks.executors.pool.processes import ChildProcesses
from cloud_tasks.executors.pool.scheduler import Scheduler
from cloud_tasks.executors.pool.state import Child, ChildEvent, Job, Slot, State
from cloud_tasks.executors.pool.stop_verdicts import StopVerdicts
from cloud_tasks.outcome import Aborted, Completed, Exited, Outcome, OverMemory
from cloud_tasks.system.processes import kill_group

logger = logging.getLogger(__name__)

#: Seconds between two checks for dead children, where nothing reports deaths.
_CHECK_PERIOD = 0.1
#: Seconds until a deadline is checked again if the reply is already on its way.
_REPLY_PENDING = 0.005


class PoolLoop:
    """Runs jobs in children, and resolves them; *reused*: a child runs job after job."""

    def __init__(
        self,
        processes: ChildProcesses,
        poller: Poller,
        flags: FlagPage,
        crashes: CrashCollector,
        options: ExecutorOptions,
        *,
        reused: bool,
    ) -> None:
        self._processes = processes
        self._poller = poller
        self._flags = flags
        self._crashes = crashes
        self._oom_watch = OomWatch()
        self._options = options
        self._reused = reused
        self._scheduler = Scheduler(
            options.slots,
            processes,
            flags,
            reused=reused,
            on_boot_failure=self._on_boot_failure,
            end_job=self._end_job,
            on_exit=self.on_exit,
        )
        self._verdicts = StopVerdicts(self._scheduler.wake_by)
        self._commands: deque[Callable[[], None]] = deque()
        self._wake_up = WakeUp()
        self._poller.add(self._wake_up.fileno())
        self._hungry = False
        self._over = False
        self._broken: ExecutorBrokenError | None = None

    # -- from any thread

    def submit(self, job: Job) -> None:
        """Queue *job*; wakes the loop only if it sleeps and could assign the job at once."""
        self._scheduler.queue.append(job)
        if self._hungry:
            self._wake_up.set()
        if self._over:
            # The loop may have looked at its queue for the last time just before.
            self._scheduler.queue.resolve_all(Aborted("the executor ended"))

    def call_soon(self, command: Callable[[], None]) -> None:
        """Have *command* called in the loop's thread soon."""
        self._commands.append(command)
        self._wake_up.set()

    def busy(self) -> list[tuple[int, Job]]:
        """Return the pid and the job of every running task."""
        children = [slot.child for slot in self._scheduler.slots]
        pairs = [(c.handle.pid, c.job) for c in children if c is not None]
        return [(pid, job) for pid, job in pairs if pid is not None and job is not None]

    def running(self) -> list[Running]:
        """Return the tasks whose function has been called, by slot."""
        # One moment for all, else a task that began later might seem to run longer.
        now = time.monotonic()
        found = []
        for slot in self._scheduler.slots:
            child = slot.child
            job = None if child is None else child.job
            if job is not None:
                started = self._flags.started_at(slot.index, job.number, job.sent_at)
                if started is not None:
                    found.append(Running(job.task_id, slot.index, max(0.0, now - started)))
        return found

    # -- commands

    def fail(self, reason: str) -> None:
        """End all work: the executor can't run tasks any more."""
        self._break(reason)

    def close(self, deadline: float, reason: str) -> None:
        """Accept no more jobs, abort at *deadline* those that run; the loop ends after them."""
        self._scheduler.abort_at(deadline, reason)
        if self._scheduler.closed:
            return
        self._scheduler.closed = True
        self._scheduler.idle.clear()
        for child in list(self._processes.alive):
            if child.state is State.BUSY:
                self._scheduler.pipeline.recall(child)
            if child.state is State.IDLE or (child.state is State.BUSY and not child.jobs):
                self._request_exit(child)
            elif child.state is State.BOOTING:
                self._processes.kill(child)

    def on_stop(self) -> None:
        """Record that the worker has been asked to stop."""
        self._verdicts.on_stop()

    def kill_exiting(self) -> None:
        """Kill the children that are ending by themselves."""
        for child in list(self._processes.alive):
            if child.state is State.EXITING:
                self._processes.kill(child)

    def abort(self, job: Job, reason: str) -> None:
        """End *job*, running or not."""
        child = self._child_of(job)
        if child is not None:
            self._end_job(child, job, Aborted(reason))
        if self._child_of(job) is None and job.claim():
            job.resolve(Aborted(reason))

    def end_over_memory(self, job: Job, limit: int, used: int) -> None:
        """End *job*, if it still runs, because it used more bytes than *limit*."""
        child = self._child_of(job)
        if child is not None:
            self._end_job(child, job, OverMemory(limit, used))

    def _child_of(self, job: Job) -> Child | None:
        children = (slot.child for slot in self._scheduler.slots)
        return next((c for c in children if c is not None and job in c.jobs), None)

    # -- the loop

    def run(self) -> None:
        """Work until closed, all children are gone and all outcomes known."""
        try:
            while not self._scheduler.closed or self._processes.alive or self._verdicts.pending:
                self._turn()
        except BaseException as error:
            logger.exception("the executor's own thread failed")
            self._break(f"a defect in the executor: {error!r}")
        finally:
            self._scheduler.closed = True
            running = [job for _, job in self.busy()]
            try:
                self._processes.close()
            finally:
                self._finish(running)

    def _finish(self, running: list[Job]) -> None:
        """Resolve the jobs that are left, *running* ones and those in the queue."""
        self._verdicts.resolve_all()
        for job in running:
            job.resolve(Aborted("the executor ended"))
        self._over = True
        self._scheduler.queue.resolve_all(Aborted("the executor ended"))
        self._options.before_wait()
        self._wake_up.close()
        self._poller.close()

    def _run_commands(self) -> None:
        while self._commands:
            self._commands.popleft()()

    def _turn(self) -> None:
        self._run_commands()
        if self._scheduler.closed or self._broken is not None:
            self._scheduler.queue.resolve_all(Aborted("the executor takes no more tasks"))
            started = False
        else:
            started = self._scheduler.assign_queued()
        ready = self._poller.wait(0)
        if not ready and not started:
            self._options.before_wait()
            ready = self._sleep()
        # Commands come before replies: after a reply, the next task is sent.
        self._run_commands()
        self._handle(ready)
        if time.monotonic() >= self._scheduler.next_due:
            self._scheduler.check_deadlines()
            self._verdicts.resolve_due()

    def _sleep(self) -> list[tuple[int, int]]:
        scheduler = self._scheduler
        if any(not child.watched for child in self._processes.alive):
            scheduler.wake_by(time.monotonic() + _CHECK_PERIOD)
        # submit() appends, then reads _hungry; we set it, then read the queue: no wake-up is lost.
        accepting = not scheduler.closed and self._broken is None
        self._hungry = scheduler.has_room or not accepting
        pending = self._commands or (self._hungry and scheduler.queue)
        ready = self._poller.wait(0 if pending else scheduler.next_due - time.monotonic())
        self._hungry = False
        return ready

    def _handle(self, ready: list[tuple[int, int]]) -> None:
        """Handle what has made descriptors readable, deaths last.

        The death of a zygote closes its descriptors and opens watches, which may get the same
        numbers: an event that is handled later would count as the death of another child.
        """
        dead: list[Child] = []
        for descriptor, _ in ready:
            child = self._processes.by_socket.get(descriptor)
            if child is not None:
                self._on_socket(child)
                continue
            child = self._processes.by_watch.get(descriptor)
            if child is not None:
                dead.append(child)
            elif descriptor == self._wake_up.fileno():
                self._wake_up.clear()
            else:
                self._on_event(descriptor)
        for child in dead:
            self.on_exit(child)

    def _on_event(self, descriptor: int) -> None:
        for child, event in self._processes.handle_event(descriptor):
            if event is ChildEvent.FORKED:
                self._on_ready(child)
            else:
                self.on_exit(child)

    # -- frames

    def _on_socket(self, child: Child) -> None:
        self._receive(child, child.channel.receive)
        if not child.listening:
            return
        if child.channel.eof:
            # A task may have closed all descriptors it found; the outcome follows from its death
            # or its deadline. Without a task there is nothing to wait for.
            self._processes.stop_listening(child)
            if child.state in (State.BOOTING, State.IDLE) and child.handle.pid is not None:
                kill_group(child.handle.pid)
        elif child.channel.has_outgoing and child.channel.flush():
            self._poller.watch_write(child.channel.fileno(), False)

    def _receive(self, child: Child, receive: Callable[[], list[tuple[int, bytes]]]) -> None:
        """Handle the frames that *receive* returns; kill a child that sent a forged one."""
        try:
            frames = receive()
            child.drained = len(frames) >= len(child.jobs)
            for kind, body in frames:
                self._on_frame(child, kind, body)
        except ForgedFrameError:
            self._processes.stop_listening(child)
            # A job that has not begun is not blamed: it runs again in another process.
            if child.job is not None and self._has_begun(child, child.job):
                child.job.kill_outcome = Exited(-9, "it wrote into the worker's own socket")
            self._processes.kill(child)

    def _has_begun(self, child: Child, job: Job) -> bool:
        return self._flags.started_at(child.slot.index, job.number, job.sent_at) is not None

    def _on_frame(self, child: Child, kind: int, body: bytes) -> None:
        if kind in protocol.REPLIES:
            self.on_reply(child, kind, body)
        elif kind == protocol.SIGNALLED:
            if child.job is not None:
                child.job.signalled = True
        elif child.state is State.BOOTING:
            self._on_boot_frame(child, kind, body)
        elif child.state is not State.KILLED:  # then it comes too late
            raise ForgedFrameError

    def _on_boot_frame(self, child: Child, kind: int, body: bytes) -> None:
        if kind == protocol.READY:
            self._on_ready(child)
        elif kind == protocol.BOOT_FAILED:
            child.boot_error = body.decode(errors="replace")
        elif kind == protocol.WARNING:
            self._processes.warn_once(body.decode(errors="replace"))
        elif kind == protocol.BOOT_IMPOSSIBLE:
            self._break(body.decode(errors="replace"))
        else:
            raise ForgedFrameError

    def _on_ready(self, child: Child) -> None:
        self._processes.on_ready(child)
        child.state = State.IDLE
        child.deadline = math.inf
        if self._scheduler.closed:
            self._request_exit(child)
        elif child.slot.child is child:
            self._scheduler.assign(child)

    def on_reply(self, child: Child, kind: int, body: bytes) -> None:
        """Resolve the job that *child* replied to, and send the child its next one.

        Raises:
            ForgedFrameError: it has no such job.
        """
        jobs = child.jobs
        if not jobs or len(body) < protocol.REPLY_HEAD.size:
            raise ForgedFrameError
        head: protocol.ReplyHead = protocol.REPLY_HEAD.unpack_from(body)
        job = jobs[0]
        if head[0] != job.number:
            raise ForgedFrameError
        now = time.monotonic()
        rest = body[protocol.REPLY_HEAD.size :]
        try:
            outcome, retire = from_reply(kind, head, rest, child.slot.index, now - job.assigned_at)
        except (ValueError, TypeError, RecursionError):
            raise ForgedFrameError from None
        jobs.popleft()
        child.last_reply_at = now
        if child.state is State.BUSY:
            if kind == protocol.EXITING or retire or not self._reused:
                # It ends by itself, and begins nothing more.
                self._scheduler.pipeline.take_back(child)
                child.state = State.EXITING
                child.deadline = now + self._options.exit_grace
                self._scheduler.wake_by(child.deadline)
                # Its death is reported elsewhere: the end of its socket would only wake us.
                self._processes.stop_listening(child)
            else:
                # Before the outcome is resolved: callbacks of the future may take long.
                self._continue(child, job, outcome, now)
        if isinstance(outcome, Completed):
            job.resolve(outcome)
            return
        if isinstance(outcome, Exited):
            outcome = replace(outcome, crash_info=self._crashes.after_exit(job, child.slot.index))
        self._verdicts.resolve(job, outcome)

    def _continue(self, child: Child, replied: Job, outcome: Outcome, now: float) -> None:
        """Have *child* go on with the jobs that it has, and assign it more."""
        child.depth = depth_for(outcome.measures.run_time)
        if child.recalled and replied.number == child.recall_barrier:
            child.recalled = False
        next_job = child.jobs[0] if child.jobs else None
        if next_job is not None:
            next_job.assigned_at = next_job.assigned_at or now
            child.deadline = now + next_job.max_runtime
            self._scheduler.wake_by(child.deadline)
        if not self._scheduler.closed:
            self._scheduler.assign(child)
        elif next_job is None:
            self._request_exit(child)

    # -- endings

    def on_exit(self, child: Child) -> None:
        """Resolve the job of a *child* that has died, after its last replies, and reap it."""
        state = child.state
        if state is State.BUSY:
            child.state = State.KILLED  # so that its last replies get it no further job
        if child.listening:
            self._receive(child, child.channel.drain)
        code = self._processes.reap(child)
        self._scheduler.release(child)
        self._resolve_dead(child, code)
        if state is State.BOOTING:
            reason = child.boot_error or f"it ended with exit code {code}"
            self._on_boot_failure(child.slot, reason, code)
        for dependent in self._processes.dependents(child):
            dependent.state = State.KILLED
            self.on_exit(dependent)

    def _resolve_dead(self, child: Child, code: int | None) -> None:
        """Resolve the job that a dead *child* ran; queue again those that it had not begun."""
        slot = child.slot.index
        traceback = self._crashes.traceback(slot, code)
        job = child.job
        if job is None:
            if traceback is not None:
                child.boot_error = f"{traceback}\nit ended with exit code {code}"
            return
        started = self._flags.started_at(slot, job.number, job.sent_at)
        if job.kill_outcome is None and started is None:
            job.boot_losses += 1
        else:
            child.jobs.popleft()
            outcome = job.kill_outcome or self._outcome_of_exit(child, job, code)
            called = started is not None
            crash_info = self._crashes.after_death(job, slot, traceback, called=called)
            outcome = after_death(outcome, slot, job.assigned_at, started, crash_info)
            self._verdicts.resolve(job, outcome)
        # The others were not called: the death is not theirs.
        self._scheduler.pipeline.take_back(child)

    def _outcome_of_exit(self, child: Child, job: Job, code: int | None) -> Exited:
        if self._flags.lost_socket(child.slot.index, job.number):
            return Exited(None, "the task closed or replaced the worker's descriptors")
        return Exited(code, child.boot_error or self._oom_watch.hint(code))

    def _request_exit(self, child: Child) -> None:
        self._processes.request_exit(child, self._options.exit_grace)
        self._scheduler.wake_by(child.deadline)

    def _end_job(self, child: Child, job: Job, outcome: Outcome) -> None:
        """End *job* of *child* with *outcome*: recall it, or kill the child that runs it."""
        if job in self._scheduler.pipeline.recall(child):
            # Never begun, so it was aborted; the queue passes over a resolved job.
            job.resolve(outcome)
        elif len(child.jobs) > 1:
            # The child has gone on to a later job just now: the reply is on its way.
            child.deadline = time.monotonic() + _REPLY_PENDING
            self._scheduler.wake_by(child.deadline)
        elif child.job is job:
            # Set before the kill, so that the death is attributed to it.
            job.kill_outcome = job.kill_outcome or outcome
            self._processes.kill(child)
        self._scheduler.reassign(child)

    def _on_boot_failure(self, slot: Slot, reason: str, code: int | None) -> None:
        if self._scheduler.closed:
            return
        children = (other.child for other in self._scheduler.slots)
        working = any(c is not None and c.state in (State.IDLE, State.BUSY) for c in children)
        broken = self._processes.on_boot_failure(slot, reason, code, working=working)
        self._scheduler.wake_by(slot.retry_at)
        if broken is not None:
            self._break(broken)

    def _break(self, reason: str) -> None:
        if self._broken is None:
            self._broken = ExecutorBrokenError(reason)
            self._options.on_broken(self._broken)
