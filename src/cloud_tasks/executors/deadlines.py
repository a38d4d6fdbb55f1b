"""What must have happened by now: a boot, a reply, the end of a process, of a whole pool."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from cloud_tasks.executors.agenda import Agenda
from cloud_tasks.executors.children import Nursery
from cloud_tasks.executors.dispenser import HOLD, SOON, Dispenser
from cloud_tasks.executors.flags import FlagPage
from cloud_tasks.executors.slot import Child, Job, State
from cloud_tasks.outcome import Aborted, Outcome, TimedOut

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
        nursery: Nursery,
        dispenser: Dispenser,
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
        started = self._flags.started(child.slot.index, job.number, job.sent)
        if started is None:
            # On its way: were it called this moment, its time would be up then.
            latest = job.sent + job.max_runtime + _START_ALLOWANCE
            child.deadline = min(latest, now + job.max_runtime) if now < latest else now
        else:
            child.deadline = started + job.max_runtime
        if child.deadline <= now:
            self._end(child, job, TimedOut(job.max_runtime))
