"""Giving queued jobs to children, and starting children where there are jobs for them."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Callable

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.flag_page import FlagPage
from cloud_tasks.executors.pool.poller import Poller
from cloud_tasks.executors.pool.processes import ChildProcesses
from cloud_tasks.executors.pool.state import Child, Job, Slot, State
from cloud_tasks.outcome import Aborted, Exited, Outcome, TimedOut
from cloud_tasks.system import cores

#: Seconds that jobs may wait in a child behind one that runs: then they are recalled.
HOLD = 0.01
#: A child should not have more jobs than it can do in this many seconds, nor more than so many;
#: and where a slot is idle, jobs wait no longer than this in the child of another.
SOON = 0.001
_DEEPEST = 32
#: So many children with jobs that short do more than one parent can send.
_ENOUGH = 3


def depth_for(run_time: float | None) -> int:
    """Return how many jobs a child should have if the last one took *run_time* seconds."""
    if run_time is None or run_time >= SOON:
        return 1
    return _DEEPEST if run_time * _DEEPEST <= SOON else int(SOON / run_time)


#: How often a job is sent if children die before they call its function.
_MAX_LOSSES = 3


class Scheduler:
    """The queue of a pool, its slots, and which of them are idle.

    Args:
        slots: how many.
        nursery: starts the children.
        poller: is told where there is something left to send.
        agenda: is told the deadlines of what is sent.
        reused: a child takes task after task; else one, and a spare is booted meanwhile.
        on_boot_failure: called with a slot and the reason if no process could be started.

    Attributes:
        queue: jobs that wait for a slot; appended to from any thread.
        slots: all of them.
        idle: those whose child waits for a job.
        closed: nothing more is given out.
    """

    def __init__(
        self,
        slots: int,
        nursery: ChildProcesses,
        poller: Poller,
        agenda: Agenda,
        *,
        reused: bool,
        on_boot_failure: Callable[[Slot, str], None],
    ) -> None:
        self.queue: deque[Job] = deque()
        self.slots = [Slot(index) for index in range(slots)]
        self._vacant = slots  # slots without a child
        # More of them would only take the machine from each other, and from the tasks; and the
        # first may show that tasks are so short that no more are needed.
        self._most_booting = 2 * cores.usable()
        self.idle: list[Slot] = []
        self.closed = False
        self._nursery = nursery
        self._poller = poller
        self._agenda = agenda
        self._reused = reused
        self._on_boot_failure = on_boot_failure

    @property
    def has_room(self) -> bool:
        """A further job could make something happen at once."""
        return bool(self.idle or self._vacant)

    def fill(self) -> bool:
        """Give jobs to idle children; True if a process was started on the way.

        But not while another one is quick enough for all of them: to wake a process costs more than
        a very short job.
        """
        if self.queue and self.idle and not self._quick_ones_suffice(SOON):
            while self.queue and self.idle:
                child = self.idle.pop().child
                assert child is not None
                self.feed(child)
        if not self.queue or (self._reused and not self._vacant):
            return False
        return not self._quick_ones_suffice(HOLD) and self._start_one()

    def _quick_ones_suffice(self, within: float) -> bool:
        """True if children in the midst of very short jobs take all that we can send.

        Args:
            within: seconds; those of whom we have not heard for longer don't count.
        """
        since = time.monotonic() - within
        quick = [
            child
            for slot in self.slots
            if (child := slot.child) is not None
            and child.depth == _DEEPEST
            and child.progress_at > since
            and child.jobs
            and child.tokens is not None
            and not child.recalled
        ]
        enough = len(quick) >= _ENOUGH or any(child.ran_dry for child in quick)
        if enough:
            # Somebody has to look again, in case it was a mistake.
            self._agenda.note(since + 2 * within)
        return enough

    def feed(self, child: Child) -> None:
        """Give a ready *child* the jobs that it should have, else note it as idle."""
        if not child.jobs:
            job = self._next()
            if job is None:
                child.state = State.IDLE
                child.deadline = math.inf
                self.idle.append(child.slot)
                # Others may have more than they can do soon.
                self._agenda.note(time.monotonic() + SOON)
                return
            self._send(child, job)
        # Half of what was sent ahead may be used up before there is more, so that one
        # system call sends several.
        if child.depth > 1 and self.queue and len(child.jobs) <= child.depth // 2:
            self._send_ahead(child)

    def _next(self) -> Job | None:
        """Return the next job that is still wanted; None: there is none."""
        while self.queue:
            job = self.queue.popleft()
            if job.claim():
                return job
        return None

    def _send(self, child: Child, job: Job) -> None:
        job.sent = time.monotonic()
        job.given = job.given or job.sent
        child.state = State.BUSY
        child.jobs.append(job)
        child.progress_at = job.sent
        child.deadline = job.sent + job.max_runtime
        if child.recalled:
            child.clean_after = job.number
        self._agenda.note(child.deadline)
        self._transmit(child, protocol.TASK, [job.body])

    def _send_ahead(self, child: Child) -> None:
        """Let short jobs wait in the child itself, so that it need not wait for us."""
        if child.tokens is None or child.recalled or (self.idle and child.depth < _DEEPEST):
            return
        jobs: list[Job] = []
        while len(child.jobs) + len(jobs) < child.depth:
            job = self._next()
            if job is None:
                break
            jobs.append(job)
        if not jobs:
            return
        now = time.monotonic()
        for job in jobs:
            job.sent = now
        child.jobs.extend(jobs)
        self._agenda.note(child.progress_at + HOLD)
        # The tokens first: a job that is met without one counts as recalled.
        os.eventfd_write(child.tokens, len(jobs))
        self._transmit(child, protocol.AHEAD, [job.body for job in jobs])

    def _transmit(self, child: Child, kind: int, bodies: list[bytes]) -> None:
        if not child.channel.send(kind, *bodies):
            self._poller.watch_write(child.channel.fileno(), True)

    def recall(self, child: Child) -> list[Job]:
        """Take back, into the queue, what *child* has not begun; returns it.

        That may be all it has: the first one waits, too, until its token is taken. Whoever
        takes a token first has the job, so none is both taken back and begun.
        """
        recalled: list[Job] = []
        if child.tokens is not None:
            with contextlib.suppress(BlockingIOError):
                while child.jobs:
                    os.eventfd_read(child.tokens)
                    recalled.append(child.jobs.pop())
        if recalled:
            child.recalled = True
            child.clean_after = 0
            for job in recalled:
                job.given = 0.0
            self.queue.extendleft(recalled)
        return recalled

    def go_on(self, child: Child) -> None:
        """After a recall: a child that has nothing left is ready for a job."""
        if child.state is State.BUSY and not child.jobs:
            self.feed(child)

    def take_back(self, child: Child) -> None:
        """Queue first what *child*, which will begin nothing more, has not answered."""
        self.recall(child)
        while child.jobs:
            job = child.jobs.pop()
            job.given = 0.0
            if job.lost < _MAX_LOSSES:
                self.queue.appendleft(job)
            else:
                job.resolve(Exited(None, "its process died again and again before the call"))

    def drop_queue(self, outcome: Outcome) -> None:
        """Resolve all that wait with *outcome*; any thread may do it, once the engine is over."""
        while True:
            try:
                job = self.queue.popleft()
            except IndexError:
                return
            if job.claim():
                job.resolve(outcome)

    def vacate(self, child: Child) -> None:
        """Take a dead *child* from its slot; a spare moves up."""
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

    def _start_one(self) -> bool:
        """Start at most one process, so that nobody waits long for the loop."""
        now = time.monotonic()
        booting = sum(1 for s in self.slots if s.child and s.child.state is State.BOOTING)
        self._give(booting, now)
        for slot in self.slots:
            wanted = (
                booting < min(len(self.queue), self._most_booting)
                if slot.child is None
                else not self._reused
                and slot.spare is None
                and slot.child.state is not State.BOOTING
            )
            if not wanted:
                continue
            if slot.retry_at > now:
                self._agenda.note(slot.retry_at)
            elif self._start_child(slot):
                if slot.spare is None:
                    self._give(booting + 1, now)
                return True
        return False

    def _give(self, n: int, now: float) -> None:
        """The first *n* jobs of the queue have their slot, and wait for its process."""
        for index in range(min(n, len(self.queue))):
            job = self.queue[index]
            job.given = job.given or now

    def _start_child(self, slot: Slot) -> bool:
        try:
            child = self._nursery.start(slot)
        except OSError as error:
            self._on_boot_failure(slot, f"no process could be started: {error}")
            return False
        self._agenda.note(child.deadline)
        if slot.child is None:
            slot.child = child
            self._vacant -= 1
        else:
            slot.spare = child
        return True


# MERGED: When the loop of a pool has to look again.


class Agenda:
    """A lower bound of when something is due next; cheaper than a heap of every deadline.

    A heap would keep an entry for every task of the last ``max_runtime`` seconds.
    """

    def __init__(self) -> None:
        self.next = math.inf

    def note(self, when: float) -> None:
        """Something is due at *when*, monotonic."""
        if when < self.next:
            self.next = when


# MERGED: What must have happened by now: a boot, a reply, the end of a process, of a whole
# MERGED: pool.

#: Seconds that a task may be on its way into the function, beyond its time limit.
_START_ALLOWANCE = 10.0
#: Seconds until something that is on its way is looked for again.
ON_ITS_WAY = 0.005


class Deadlines:
    """Looks after the deadlines of all children, when the agenda says that one may be over.

    Args:
        end: called with a child, its job and the verdict on that.
        on_death: called with a child that has ended, where nothing else tells.
    """

    def __init__(
        self,
        nursery: ChildProcesses,
        dispenser: Scheduler,
        agenda: Agenda,
        flags: FlagPage,
        end: Callable[[Child, Job, Outcome], None],
        on_death: Callable[[Child], None],
    ) -> None:
        self._nursery = nursery
        self._dispenser = dispenser
        self._agenda = agenda
        self._flags = flags
        self._end = end
        self._on_death = on_death
        self._close_at = math.inf
        self._close_reason = ""

    def close(self, deadline: float, reason: str) -> None:
        """Abort at *deadline* what still runs, if no earlier one was set before."""
        if deadline < self._close_at:
            self._close_at, self._close_reason = deadline, reason
            self._agenda.note(deadline)

    def check(self) -> None:
        """Act on what is over, and note on the agenda what comes next."""
        now = time.monotonic()
        self._agenda.next = math.inf
        for child in list(self._nursery.alive):
            if not child.watched and child.handle.exit_code() is not None:
                self._on_death(child)
                continue
            if child.deadline <= now:
                self._overdue(child, now)
            elif child.state is State.BUSY and self._close_at <= now:
                assert child.job is not None
                self._end(child, child.job, Aborted(self._close_reason))
            self._agenda.note(child.deadline)
            if len(child.jobs) > 1:
                self._release_waiting(child, now)
        if self._close_at > now:
            self._agenda.note(self._close_at)
        for slot in self._dispenser.slots:
            if slot.retry_at > now:
                self._agenda.note(slot.retry_at)

    def _release_waiting(self, child: Child, now: float) -> None:
        """Recall what was sent ahead to a child that turns out to be busy for longer."""
        patience = SOON if self._dispenser.idle else HOLD
        if child.progress_at + patience <= now:
            self._dispenser.recall(child)
            self._dispenser.go_on(child)
        if len(child.jobs) > 1:
            self._agenda.note(max(child.progress_at, now) + patience)

    def _overdue(self, child: Child, now: float) -> None:
        job = child.job
        if child.state is not State.BUSY or job is None:
            self._nursery.kill(child)
            return
        started = self._flags.started_at(child.slot.index, job.number, job.sent)
        if started is None:
            # On its way: were it called this moment, its time would be up then.
            latest = job.sent + job.max_runtime + _START_ALLOWANCE
            child.deadline = min(latest, now + job.max_runtime) if now < latest else now
        else:
            child.deadline = started + job.max_runtime
        if child.deadline <= now:
            self._end(child, job, TimedOut(job.max_runtime))
