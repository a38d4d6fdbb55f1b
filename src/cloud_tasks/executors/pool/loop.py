"""The loop of a pool: one thread that sends, receives, watches deadlines and deaths."""

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
from cloud_tasks.executors.pool.poller import Poller, WakeUp
from cloud_tasks.executors.pool.processes import ChildProcesses
from cloud_tasks.executors.pool.scheduler import ON_ITS_WAY, Agenda, Deadlines, Scheduler, depth_for
from cloud_tasks.executors.pool.state import Child, Job, News, Slot, State, running
from cloud_tasks.outcome import Aborted, Exited, Outcome, OverMemory
from cloud_tasks.system import processes

logger = logging.getLogger(__name__)

#: Seconds between two looks at the children, where nothing tells their deaths.
_TICK_WITHOUT_WATCH = 0.1


class Engine:
    """Runs jobs in children.

    ``submit``, ``tell``, ``busy`` and ``running`` serve any thread; everything else belongs to
    the engine's.
    """

    def __init__(
        self,
        nursery: ChildProcesses,
        poller: Poller,
        flags: FlagPage,
        searcher: CrashCollector,
        options: ExecutorOptions,
        *,
        reused: bool,
    ) -> None:
        self._nursery = nursery
        self._poller = poller
        self._options = options
        self._flags = flags
        self._agenda = Agenda()
        self._dispenser = Scheduler(
            options.slots,
            nursery,
            poller,
            self._agenda,
            reused=reused,
            on_boot_failure=self._boot_failed,
        )
        self._referee = Referee(
            nursery,
            self._dispenser,
            self._agenda,
            flags,
            searcher,
            exit_grace=options.exit_grace,
            reused=reused,
        )
        self._deadlines = Deadlines(
            nursery, self._dispenser, self._agenda, flags, self._referee.end, self._on_death
        )
        self._commands: deque[Callable[[], None]] = deque()
        self._wake = WakeUp()
        self._poller.add(self._wake.fileno())
        self._hungry = False
        self._over = False
        self._broken: ExecutorBrokenError | None = None

    # -- from any thread

    def submit(self, job: Job) -> None:
        """Queue *job*; wakes the engine only if it sleeps and could do something about it."""
        self._dispenser.queue.append(job)
        if self._hungry:
            self._wake.set()
        if self._over:
            # The engine may have looked at its queue for the last time just before.
            self._dispenser.drop_queue(Aborted("the executor ended"))

    def tell(self, command: Callable[[], None]) -> None:
        """Have *command* run in the engine's thread soon."""
        self._commands.append(command)
        self._wake.set()

    def busy(self) -> list[tuple[int, Job]]:
        """Return the pid and the job of every running task."""
        children = [slot.child for slot in self._dispenser.slots]
        pairs = [(c.handle.pid, c.job) for c in children if c is not None]
        return [(pid, job) for pid, job in pairs if pid is not None and job is not None]

    def running(self) -> list[Running]:
        """Return the tasks whose function has been called, by slot."""
        return running(self._dispenser.slots, self._flags)

    # -- commands

    def close(self, deadline: float, reason: str) -> None:
        """Take nothing more, abort what still runs at *deadline*, end when all are gone."""
        self._deadlines.close(deadline, reason)
        if self._dispenser.closed:
            return
        self._dispenser.closed = True
        self._dispenser.idle.clear()
        for child in list(self._nursery.alive):
            if child.state is State.BUSY:
                self._dispenser.recall(child)
            if child.state is State.IDLE or (child.state is State.BUSY and not child.jobs):
                self._referee.dismiss(child)
            elif child.state is State.BOOTING:
                self._nursery.kill(child)

    def hurry(self) -> None:
        """Kill the children that are ending by themselves."""
        for child in list(self._nursery.alive):
            if child.state is State.LEAVING:
                self._nursery.kill(child)

    def abort(self, job: Job, reason: str) -> None:
        """End *job*, running or not."""
        child = self._child_of(job)
        if child is not None:
            self._referee.end(child, job, Aborted(reason))
        if self._child_of(job) is None and job.claim():
            job.resolve(Aborted(reason))

    def over_memory(self, job: Job, limit: int, used: int) -> None:
        """End *job* for what it used, if it still runs."""
        child = self._child_of(job)
        if child is not None:
            self._referee.end(child, job, OverMemory(limit, used))

    def _child_of(self, job: Job) -> Child | None:
        children = (slot.child for slot in self._dispenser.slots)
        return next((c for c in children if c is not None and job in c.jobs), None)

    # -- the loop

    def run(self) -> None:
        """Work until closed and all children are gone."""
        try:
            while not (self._dispenser.closed and not self._nursery.alive):
                self._turn()
        except Exception as error:
            logger.exception("the executor's own thread failed")
            self._break(f"a defect in the executor: {error!r}")
        finally:
            self._dispenser.closed = True
            running = [job for _, job in self.busy()]
            try:
                self._nursery.close()
            finally:
                self._resolve_rest(running)

    def _resolve_rest(self, running: list[Job]) -> None:
        for job in running:
            job.resolve(Aborted("the executor ended"))
        self._over = True
        self._dispenser.drop_queue(Aborted("the executor ended"))
        self._options.before_wait()
        self._wake.close()
        self._poller.close()

    def _obey(self) -> None:
        while self._commands:
            self._commands.popleft()()

    def _turn(self) -> None:
        self._obey()
        if self._dispenser.closed or self._broken is not None:
            self._dispenser.drop_queue(Aborted("the executor takes no more tasks"))
            started = False
        else:
            started = self._dispenser.fill()
        ready = self._poller.wait(0)
        if not ready and not started:
            self._options.before_wait()
            ready = self._sleep()
        # Whoever asked us to stop comes before a reply, which would have the next task sent.
        self._obey()
        for descriptor, _ in ready:
            self._attend(descriptor)
        if time.monotonic() >= self._agenda.next:
            self._deadlines.check()

    def _sleep(self) -> list[tuple[int, int]]:
        until = self._agenda.next
        if any(not child.watched for child in self._nursery.alive):
            until = min(until, time.monotonic() + _TICK_WITHOUT_WATCH)
            self._agenda.note(until)
        # Whoever submits looks at `hungry` after it has queued its job, and we look at the queue
        # after we have set it: one of us sees the other.
        taking = not self._dispenser.closed and self._broken is None
        self._hungry = self._dispenser.has_room or not taking
        pending = self._commands or (self._hungry and self._dispenser.queue)
        ready = self._poller.wait(0 if pending else until - time.monotonic())
        self._hungry = False
        return ready

    def _attend(self, descriptor: int) -> None:
        child = self._nursery.by_socket.get(descriptor)
        if child is not None:
            self._on_socket(child)
            return
        child = self._nursery.by_watch.get(descriptor)
        if child is not None:
            self._on_death(child)
        elif descriptor == self._wake.fileno():
            self._wake.clear()
        else:
            for child, news in self._nursery.attend(descriptor):
                if news is News.BORN:
                    self._on_frame(child, protocol.READY, b"")
                else:
                    self._on_death(child)

    # -- what children do

    def _on_socket(self, child: Child) -> None:
        self._take(child, child.channel.receive)
        if not child.listening:
            return
        if child.channel.eof:
            # It may have lost its end to a task that closes all it finds; its death, or its
            # deadline, tells the outcome. Without a task there is nothing to wait for.
            self._nursery.stop_listening(child)
            if child.state in (State.BOOTING, State.IDLE) and child.handle.pid is not None:
                processes.kill_group(child.handle.pid)
        elif child.channel.has_outgoing and child.channel.flush():
            self._poller.watch_write(child.channel.fileno(), False)

    def _take(self, child: Child, receive: Callable[[], list[tuple[int, bytes]]]) -> None:
        try:
            frames = receive()
            child.ran_dry = len(frames) >= len(child.jobs)
            for kind, body in frames:
                self._on_frame(child, kind, body)
        except ForgedFrameError:
            self._nursery.stop_listening(child)
            if child.job is not None:
                child.job.verdict = Exited(-9, "it wrote into the worker's own socket")
            self._nursery.kill(child)

    def _on_frame(self, child: Child, kind: int, body: bytes) -> None:
        if kind in protocol.REPLIES:
            self._referee.answered(child, kind, body)
        elif kind == protocol.READY:
            self._nursery.booted(child)
            child.state = State.IDLE
            child.deadline = math.inf
            if self._dispenser.closed:
                self._referee.dismiss(child)
            elif child.slot.child is child:
                self._dispenser.feed(child)
        elif kind == protocol.BOOT_FAILED:
            child.complaint = body.decode(errors="replace")
        elif kind == protocol.WARNING:
            self._nursery.warn(body.decode(errors="replace"))
        elif kind == protocol.BOOT_IMPOSSIBLE:
            self._break(body.decode(errors="replace"))
        else:
            raise ForgedFrameError

    def _on_death(self, child: Child) -> None:
        state = child.state
        if state is State.BUSY:
            child.state = State.DOOMED  # it is given nothing more
        if child.listening:
            self._take(child, child.channel.drain)
        code = self._referee.died(child)
        if state is State.BOOTING:
            self._boot_failed(child.slot, child.complaint or f"it ended with exit code {code}")
        for dependent in self._nursery.dependents(child):
            dependent.state = State.DOOMED
            self._on_death(dependent)

    def _boot_failed(self, slot: Slot, reason: str) -> None:
        if self._dispenser.closed:
            return
        fatal = self._nursery.boot_failed(slot, reason)
        self._agenda.note(slot.retry_at)
        if fatal is not None:
            self._break(fatal)

    def _break(self, reason: str) -> None:
        if self._broken is None:
            self._broken = ExecutorBrokenError(reason)
            self._options.on_broken(self._broken)


# MERGED: What became of a job: read off a child's answer, or off its death.


class Referee:
    """Resolves the jobs of children, and says what a child does next.

    Args:
        exit_grace: seconds that a finished process may take to end.
        reused: a child takes task after task.
    """

    def __init__(
        self,
        nursery: ChildProcesses,
        dispenser: Scheduler,
        agenda: Agenda,
        flags: FlagPage,
        searcher: CrashCollector,
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
        head: protocol.ReplyHead = protocol.REPLY_HEAD.unpack_from(body)
        if not jobs or head[0] != jobs[0].number:
            raise ForgedFrameError
        job = jobs.popleft()
        child.progress_at = now = time.monotonic()
        rest = body[protocol.REPLY_HEAD.size :]
        outcome, retire = from_reply(kind, head, rest, child.slot.index, now - job.given)
        if child.state is State.BUSY:
            if kind == protocol.EXITING or retire or not self._reused:
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
            outcome = replace(outcome, crash_info=self._searcher.after_exit(job, child.slot.index))
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
        started = self._flags.started_at(slot, job.number, job.sent)
        if job.verdict is None and started is None:
            job.lost += 1
        else:
            child.jobs.popleft()
            hint = child.complaint or self._oom_watch.hint(code)
            verdict = job.verdict or Exited(code, hint)
            called = started is not None
            crash_info = self._searcher.after_death(job, slot, traceback, called=called)
            job.resolve(after_death(verdict, slot, job.given, started, crash_info))
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
