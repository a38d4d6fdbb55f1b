"""Assign queued jobs to children, start children where jobs wait, and check deadlines.

::

    queue ──► idle child ──────────► send        at once
          ──► busy, very short jobs ► send ahead  see pipelining
          ──► slot without a child ─► start one   at most one a turn of the loop, so that replies
                                                  are not kept waiting

Where children are not reused, the slot's next child boots while the current one runs, its spare.

``next_due`` is a lower bound of the next moment at which something may be overdue: the loop sleeps
no longer. It is cheaper than a heap of all deadlines, which would keep an entry for every task of
the last ``max_runtime`` seconds. All of it is in the pool's thread, except appending to the queue.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.flag_page import FlagPage
from cloud_tasks.executors.pool.pipelining import HOLD, SOON, Pipeline
from cloud_tasks.executors.pool.processes import ChildProcesses
from cloud_tasks.executors.pool.state import Child, Job, JobQueue, Slot, State
from cloud_tasks.outcome import Aborted, Outcome, TimedOut
from cloud_tasks.system import cores

#: Seconds that a child may take from receiving a task to calling its function, beyond the task's
#: time limit.
_START_ALLOWANCE = 10.0


class Scheduler:
    """The slots of a pool and the queue in front of them.

    Args:
        slots: number of slots.
        reused: a child runs job after job; else one, and a spare boots meanwhile.
        on_boot_failure: called with a slot, the reason and None if no process could be started.
        end_job: called with a child, its job and the outcome if that is overdue.
        on_exit: called with a child found dead, where nothing reports deaths.

    Attributes:
        queue: jobs that wait for a slot; any thread may append.
        slots: all slots.
        idle: the slots whose child waits for a job.
        pipeline: sends jobs ahead, and recalls them.
        closed: no job is assigned any more.
        next_due: when to call ``check_deadlines``, monotonic.
    """

    def __init__(
        self,
        slots: int,
        processes: ChildProcesses,
        flags: FlagPage,
        *,
        reused: bool,
        on_boot_failure: Callable[[Slot, str, int | None], None],
        end_job: Callable[[Child, Job, Outcome], None],
        on_exit: Callable[[Child], None],
    ) -> None:
        self._processes = processes
        self._flags = flags
        self._reused = reused
        self._on_boot_failure = on_boot_failure
        self._end_job = end_job
        self._on_exit = on_exit
        self.queue = JobQueue()
        self.slots = [Slot(index) for index in range(slots)]
        self.idle: list[Slot] = []
        self.pipeline = Pipeline(self.queue, processes.send, self.wake_by)
        self.closed = False
        self.next_due = math.inf
        self._close_at = math.inf
        self._close_reason = ""
        self._vacant = slots  # slots without a child
        # More would only compete for the cores, with the tasks as well; and the first may show
        # that tasks are so short that no more are needed.
        self._max_booting = 2 * cores.usable()

    def wake_by(self, when: float) -> None:
        """Have deadlines checked at *when*, monotonic, at the latest."""
        if when < self.next_due:
            self.next_due = when

    # -- assigning jobs

    @property
    def has_room(self) -> bool:
        """A further job could be assigned, or have a process started, at once."""
        return bool(self.idle or self._vacant)

    def assign_queued(self) -> bool:
        """Assign jobs to idle children, else start a child for them; True if one was started.

        Not while busy children are quick enough for all of them, because waking a process costs
        more than a very short job.
        """
        if self.queue and self.idle and not self.pipeline.suffices(self.slots, SOON):
            while self.queue and self.idle:
                child = self.idle.pop().child
                assert child is not None
                self.assign(child)
        if not self.queue or (self._reused and not self._vacant):
            return False
        return not self.pipeline.suffices(self.slots, HOLD) and self._start_next()

    def assign(self, child: Child) -> None:
        """Send a ready *child* the jobs that it should have; without any it becomes idle."""
        if not child.jobs:
            job = self.queue.claim_next()
            if job is None:
                child.state = State.IDLE
                child.deadline = math.inf
                self.idle.append(child.slot)
                # Other children may have more than they can do soon.
                self.wake_by(time.monotonic() + SOON)
                return
            self._send(child, job)
        # Half of the jobs sent ahead may be done before there are more, so that one system call
        # sends several.
        if child.depth > 1 and self.queue and len(child.jobs) <= child.depth // 2:
            self.pipeline.send_ahead(child, others_idle=bool(self.idle))

    def _send(self, child: Child, job: Job) -> None:
        job.sent_at = time.monotonic()
        job.assigned_at = job.assigned_at or job.sent_at
        child.state = State.BUSY
        child.jobs.append(job)
        child.last_reply_at = job.sent_at
        child.deadline = job.sent_at + job.max_runtime
        if child.recalled:
            child.recall_barrier = job.number
        self.wake_by(child.deadline)
        self._processes.send(child, protocol.TASK, (job.body,))

    def reassign(self, child: Child) -> None:
        """Assign jobs to a busy *child* that a recall has left without any."""
        if child.state is State.BUSY and not child.jobs:
            self.assign(child)

    # -- slots and their processes

    def release(self, child: Child) -> None:
        """Take a dead *child* from its slot; a spare takes its place."""
        slot = child.slot
        if slot.spare is child:
            slot.spare = None
        if slot.child is not child:
            return
        if slot in self.idle:
            self.idle.remove(slot)
        slot.child, slot.spare = slot.spare, None
        if slot.child is None:
            self._vacant += 1
        elif slot.child.state is State.IDLE:
            self.idle.append(slot)

    def _start_next(self) -> bool:
        """Start a process in the first slot that needs one; True if one was started."""
        now = time.monotonic()
        booting = sum(1 for s in self.slots if s.child and s.child.state is State.BOOTING)
        self._count_as_assigned(booting, now)
        for slot in self.slots:
            needed = (
                booting < min(len(self.queue), self._max_booting)
                if slot.child is None
                else not self._reused
                and slot.spare is None
                and slot.child.state is not State.BOOTING
            )
            if not needed:
                continue
            if slot.retry_at > now:
                self.wake_by(slot.retry_at)
            elif self._start_child(slot):
                if slot.spare is None:
                    self._count_as_assigned(booting + 1, now)
                return True
        return False

    def _count_as_assigned(self, n: int, now: float) -> None:
        """Count the first *n* queued jobs as assigned: each has a slot whose process boots."""
        for index in range(min(n, len(self.queue))):
            job = self.queue[index]
            job.assigned_at = job.assigned_at or now

    def _start_child(self, slot: Slot) -> bool:
        try:
            child = self._processes.start(slot)
        except OSError as error:
            self._on_boot_failure(slot, f"no process could be started: {error}", None)
            return False
        self.wake_by(child.deadline)
        if slot.child is None:
            slot.child = child
            self._vacant -= 1
        else:
            slot.spare = child
        return True

    # -- deadlines

    def abort_at(self, deadline: float, reason: str) -> None:
        """Abort at *deadline*, monotonic, all that still runs; the earliest one counts."""
        if deadline < self._close_at:
            self._close_at, self._close_reason = deadline, reason
            self.wake_by(deadline)

    def check_deadlines(self) -> None:
        """Act on every deadline that has passed, and compute ``next_due`` anew."""
        now = time.monotonic()
        self.next_due = math.inf
        for child in list(self._processes.alive):
            if not child.watched and child.handle.exit_code() is not None:
                self._on_exit(child)
                continue
            if child.deadline <= now:
                self._on_overdue(child, now)
            elif child.state is State.BUSY and self._close_at <= now:
                assert child.job is not None
                self._end_job(child, child.job, Aborted(self._close_reason))
            self.wake_by(child.deadline)
            if len(child.jobs) > 1 and self.pipeline.recall_if_stalled(
                child, now, others_idle=bool(self.idle)
            ):
                self.reassign(child)
        if self._close_at > now:
            self.wake_by(self._close_at)
        for slot in self.slots:
            if slot.retry_at > now:
                self.wake_by(slot.retry_at)

    def _on_overdue(self, child: Child, now: float) -> None:
        job = child.job
        if child.state is not State.BUSY or job is None:
            self._processes.kill(child)
            return
        started = self._flags.started_at(child.slot.index, job.number, job.sent_at)
        if started is None:
            # Not called yet: were it called now, its time would be up max_runtime from now.
            latest = job.sent_at + job.max_runtime + _START_ALLOWANCE
            child.deadline = min(latest, now + job.max_runtime) if now < latest else now
        else:
            child.deadline = started + job.max_runtime
        if child.deadline <= now:
            self._end_job(child, job, TimedOut(job.max_runtime))
