"""Giving queued jobs to children, and starting children where there are jobs for them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

from cloud_tasks.executors import wire
from cloud_tasks.executors.children import Nursery
from cloud_tasks.executors.poller import Poller
from cloud_tasks.executors.slot import Child, Job, Slot, State
from cloud_tasks.outcome import Outcome


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
        """Send the next job that is still wanted to a ready *child*, else note it as idle."""
        while self.queue:
            job = self.queue.popleft()
            if job.claim():
                self._send(child, job)
                return
        child.state = State.IDLE
        child.deadline = math.inf
        self.idle.append(child.slot)

    def _send(self, child: Child, job: Job) -> None:
        job.sent = time.monotonic()
        job.given = job.given or job.sent
        job.tries += 1
        child.state = State.BUSY
        child.job = job
        child.deadline = job.sent + job.max_runtime
        self._agenda.note(child.deadline)
        if not child.channel.send(wire.TASK, job.body):
            self._poller.watch_write(child.channel.fileno(), True)

    def put_back(self, job: Job) -> None:
        """Queue *job* first: its child died before it called the function."""
        self.queue.appendleft(job)

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
