"""Giving queued jobs to children, and starting children where there are jobs for them."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections import deque
from collections.abc import Callable

from cloud_tasks.executors import wire
from cloud_tasks.executors.children import Nursery
from cloud_tasks.executors.poller import Poller
from cloud_tasks.executors.slot import Child, Job, Slot, State
from cloud_tasks.outcome import Exited, Outcome

#: Seconds that jobs may wait in a child behind one that runs: then they are recalled.
HOLD = 0.01
#: A child should not have more jobs than it can do in this many seconds, nor more than so many;
#: and where a slot is idle, jobs wait no longer than this in the child of another.
SOON = 0.001
_DEEPEST = 16


def depth_for(run_time: float | None) -> int:
    """Return how many jobs a child should have if the last one took *run_time* seconds."""
    if run_time is None or run_time >= SOON:
        return 1
    return min(_DEEPEST, int(SOON / max(run_time, 1e-6)))


#: How often a job is sent if children die before they call its function.
_MAX_LOSSES = 3


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


class Dispenser:
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
        nursery: Nursery,
        poller: Poller,
        agenda: Agenda,
        *,
        reused: bool,
        on_boot_failure: Callable[[Slot, str], None],
    ) -> None:
        self.queue: deque[Job] = deque()
        self.slots = [Slot(index) for index in range(slots)]
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
        return bool(self.idle) or any(slot.child is None for slot in self.slots)

    def fill(self) -> bool:
        """Give jobs to idle children; True if a process was started on the way."""
        while self.queue and self.idle:
            child = self.idle.pop().child
            assert child is not None
            self.feed(child)
        return self._start_one() if self.queue else False

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
        self._transmit(child, wire.TASK_HEAD.pack(job.number, False) + job.body)

    def _send_ahead(self, child: Child) -> None:
        """Let short jobs wait in the child itself, so that it need not wait for us."""
        if child.tokens is None or child.recalled or self.idle:
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
        self._transmit(child, *(wire.TASK_HEAD.pack(j.number, True) + j.body for j in jobs))

    def _transmit(self, child: Child, *bodies: bytes) -> None:
        if not child.channel.send(wire.TASK, *bodies):
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
        if slot.child is not None and slot.child.state is State.IDLE:
            self.idle.append(slot)

    def _start_one(self) -> bool:
        """Start at most one process, so that nobody waits long for the loop."""
        now = time.monotonic()
        booting = sum(1 for s in self.slots if s.child and s.child.state is State.BOOTING)
        self._give(booting, now)
        for slot in self.slots:
            wanted = (
                booting < len(self.queue)
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
        else:
            slot.spare = child
        return True
