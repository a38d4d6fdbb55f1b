"""What became of a job: read off a child's answer, or off its death."""

from __future__ import annotations

import time
from dataclasses import replace

from cloud_tasks.executors import wire
from cloud_tasks.executors.agenda import Agenda
from cloud_tasks.executors.channel import ForgedFrameError
from cloud_tasks.executors.children import Nursery
from cloud_tasks.executors.deadlines import ON_ITS_WAY
from cloud_tasks.executors.dispenser import Dispenser, depth_for
from cloud_tasks.executors.flags import FlagPage
from cloud_tasks.executors.outcomes import after_death, from_reply
from cloud_tasks.executors.remains import Searcher
from cloud_tasks.executors.slot import Child, Job, State
from cloud_tasks.outcome import Exited, Outcome
from cloud_tasks.system.processes import OomWatch


class Referee:
    """Resolves the jobs of children, and says what a child does next.

    Args:
        exit_grace: seconds that a finished process may take to end.
        reused: a child takes task after task.
    """

    def __init__(
        self,
        nursery: Nursery,
        dispenser: Dispenser,
        agenda: Agenda,
        flags: FlagPage,
        searcher: Searcher,
        *,
        exit_grace: float,
        reused: bool,
    ) -> None:
        self._nursery = nursery
        self._dispenser = dispenser
        self._agenda = agenda
        self._flags = flags
        self._searcher = searcher
        self._exit_grace = exit_grace
        self._reused = reused
        self._oom_watch = OomWatch()

    def answered(self, child: Child, kind: int, body: bytes) -> None:
        """Take a child's answer to its job.

        Raises:
            ForgedFrameError: it has no such job.
        """
        jobs = child.jobs
        head: wire.ReplyHead = wire.REPLY_HEAD.unpack_from(body)
        if not jobs or head[0] != jobs[0].number:
            raise ForgedFrameError
        job = jobs.popleft()
        child.progress_at = now = time.monotonic()
        rest = body[wire.REPLY_HEAD.size :]
        outcome, retire = from_reply(kind, head, rest, child.slot.index, now - job.given)
        if child.state is State.BUSY:
            if kind == wire.EXITING or retire or not self._reused:
                # It goes by itself, and begins nothing more.
                self._dispenser.take_back(child)
                child.state = State.LEAVING
                child.deadline = now + self._exit_grace
                self._agenda.note(child.deadline)
                # Its death is told elsewhere: the end of its socket would only wake us.
                self._nursery.stop_listening(child)
            else:
                # The child has its next task before anybody looks at this outcome.
                self._go_on(child, job, outcome, now)
        if isinstance(outcome, Exited):
            outcome = replace(outcome, remains=self._searcher.after_exit(job, child.slot.index))
        job.resolve(outcome)

    def _go_on(self, child: Child, answered: Job, outcome: Outcome, now: float) -> None:
        child.depth = depth_for(outcome.measures.run_time)
        if child.recalled and answered.number == child.clean_after:
            child.recalled = False
        following = child.jobs[0] if child.jobs else None
        if following is not None:
            following.given = following.given or now
            child.deadline = now + following.max_runtime
            self._agenda.note(child.deadline)
        if not self._dispenser.closed:
            self._dispenser.feed(child)
        elif following is None:
            self.dismiss(child)

    def died(self, child: Child) -> int | None:
        """Bury a child that has ended, all its answers taken; returns its exit code."""
        code = self._nursery.bury(child)
        slot = child.slot.index
        traceback = self._searcher.traceback(slot, code)
        self._dispenser.vacate(child)
        job = child.job
        if job is None:
            if traceback is not None:
                child.complaint = f"{traceback}\nit ended with exit code {code}"
            return code
        started = self._flags.started(slot, job.number, job.sent)
        if job.verdict is None and started is None:
            job.lost += 1
        else:
            child.jobs.popleft()
            hint = child.complaint or self._oom_watch.hint(code)
            verdict = job.verdict or Exited(code, hint)
            called = started is not None
            remains = self._searcher.after_death(job, slot, traceback, called=called)
            job.resolve(after_death(verdict, slot, job.given, started, remains))
        # The others were not called: that is not their doing.
        self._dispenser.take_back(child)
        return code

    def dismiss(self, child: Child) -> None:
        """Ask an idle child to end by itself."""
        self._nursery.dismiss(child, self._exit_grace)
        self._agenda.note(child.deadline)

    def end(self, child: Child, job: Job, verdict: Outcome) -> None:
        """End *job*, with everything it started, if it is what *child* runs."""
        if job in self._dispenser.recall(child):
            # Never begun: an abort is all that can be meant, and the queue passes it over.
            job.resolve(verdict)
        elif len(child.jobs) > 1:
            # It has gone on to a later one just now, so the answer is on its way.
            child.deadline = time.monotonic() + ON_ITS_WAY
            self._agenda.note(child.deadline)
        elif child.job is job:
            # The verdict stands before the kill, so that the death is understood.
            job.verdict = job.verdict or verdict
            self._nursery.kill(child)
        self._dispenser.go_on(child)
