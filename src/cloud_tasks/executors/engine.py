"""The loop of a pool: one thread that sends, receives, watches deadlines and deaths."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable

from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.executors import wire
from cloud_tasks.executors.agenda import Agenda
from cloud_tasks.executors.base import ExecutorOptions, Running
from cloud_tasks.executors.channel import ForgedFrameError
from cloud_tasks.executors.children import Nursery
from cloud_tasks.executors.deadlines import Deadlines
from cloud_tasks.executors.dispenser import Dispenser
from cloud_tasks.executors.flags import FlagPage
from cloud_tasks.executors.poller import Poller, WakeUp
from cloud_tasks.executors.referee import Referee
from cloud_tasks.executors.remains import Searcher
from cloud_tasks.executors.slot import Child, Job, News, Slot, State, running
from cloud_tasks.outcome import Aborted, Exited, OverMemory
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
        nursery: Nursery,
        poller: Poller,
        flags: FlagPage,
        searcher: Searcher,
        options: ExecutorOptions,
        *,
        reused: bool,
    ) -> None:
        self._nursery = nursery
        self._poller = poller
        self._options = options
        self._flags = flags
        self._agenda = Agenda()
        self._dispenser = Dispenser(
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
                    self._on_frame(child, wire.READY, b"")
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
        if kind in wire.ANSWERS:
            self._referee.answered(child, kind, body)
        elif kind == wire.READY:
            self._nursery.booted(child)
            child.state = State.IDLE
            child.deadline = math.inf
            if self._dispenser.closed:
                self._referee.dismiss(child)
            elif child.slot.child is child:
                self._dispenser.feed(child)
        elif kind == wire.UNFIT:
            child.complaint = body.decode(errors="replace")
        elif kind == wire.WARNING:
            self._nursery.warn(body.decode(errors="replace"))
        elif kind == wire.REFUSED:
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
