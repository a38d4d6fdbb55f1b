"""Define the plain state of a pool: its jobs, the queue of them, child processes, and slots.

A slot is the permission to run one task at a time. The states of the child process in it::

    BOOTING ──READY──► IDLE ──TASK──► BUSY ──reply──► IDLE       (reused)
                         │              └────reply──► EXITING    (fresh process, sys.exit, worn out)
                         └──closed──► EXITING
    any ──time or memory limit, abort, forged frame──► KILLED
    any ──death──► reaped and forgotten

The pool's thread alone changes children and slots. Jobs are made, queued and cancelled by any
thread, and resolved by the pool's.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from cloud_tasks.executors.pool.channel import Channel
from cloud_tasks.outcome import Outcome


class State(enum.Enum):
    """The state of a child process."""

    BOOTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    EXITING = enum.auto()
    KILLED = enum.auto()


class ChildEvent(enum.Enum):
    """A change of a child that its zygote reports."""

    FORKED = enum.auto()
    DIED = enum.auto()


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Descriptors that a new process inherits beside its socket; the pool closes its own copies.

    Attributes:
        page: the flag page.
        permits: eventfd for jobs that are sent ahead, see ``pipelining``; None: none are.
        log: the sending end of the log socket; None: log records stay in the process.
        lifeline: see ``watchdog``; None: there is none.
        control: a zygote's end of its control socket, see ``fork_protocol``.
    """

    page: int
    permits: int | None = None
    log: int | None = None
    lifeline: int | None = None
    control: int | None = None


class Handle(Protocol):
    """A child process as the operating system knows it."""

    @property
    def pid(self) -> int | None:
        """The process id; None while a zygote has yet to fork it."""

    def exit_code(self) -> int | None:
        """Reap the process if it has ended; None: it runs, or another part has reaped it."""


class Job(Future[Outcome]):
    """One task on its way through the pool, and the future of its outcome.

    One object instead of two that refer to each other, because those would be left to the cycle
    collector, which then takes a quarter of the worker's time. Initial values are class
    attributes, because an instance is made for every task.

    Attributes:
        number: counts the pool's jobs from 1.
        task_id: ID of the task.
        body: the task as it is sent to the child.
        max_runtime: seconds; infinite: no limit.
        assigned_at: when a slot was assigned to it, monotonic; 0.0 before.
        sent_at: when it was last sent to a child, monotonic.
        boot_losses: how often a child died before it called the function.
        claimed: for holders of the future it is running: it can't be cancelled any more.
        resolved: it has its outcome.
        kill_outcome: the outcome if the pool ends it; set before the kill, so that the death that
            follows is attributed to it.
        withdrawn: its future was found cancelled.
        signalled: its process got a stop signal while the worker was stopping, or may have.
        memory: bytes that its processes used when last measured; None: not measured yet.
        free_memory: free bytes of the machine when its memory was first measured.
    """

    assigned_at = 0.0
    sent_at = 0.0
    boot_losses = 0
    claimed = False
    resolved = False
    kill_outcome: Outcome | None = None
    withdrawn = False
    signalled = False
    memory: int | None = None
    free_memory: int | None = None

    def __init__(self, number: int, task_id: str, body: bytes, max_runtime: float | None) -> None:
        super().__init__()
        self.number = number
        self.task_id = task_id
        self.body = body
        self.max_runtime = math.inf if max_runtime is None else max_runtime

    def claim(self) -> bool:
        """Claim it, to run or to resolve it; returns False if it needs neither any more.

        The state of a cancelled future may be asked for only once, and a job that was aborted
        while it waited is still in the queue.
        """
        if self.withdrawn or self.resolved:
            return False
        # A job that was put back into the queue is claimed already.
        if not self.claimed:
            self.claimed = self.set_running_or_notify_cancel()
            self.withdrawn = not self.claimed
        return self.claimed

    def resolve(self, outcome: Outcome) -> None:
        """Set the outcome; the first one stands."""
        self.body = b""
        if not self.resolved:
            self.resolved = True
            self.set_result(outcome)


class JobQueue(deque[Job]):
    """The jobs that wait for a slot. Any thread may append."""

    def claim_next(self) -> Job | None:
        """Remove and return the next job that is still to be run; None if there is none."""
        while self:
            job = self.popleft()
            if job.claim():
                return job
        return None

    def resolve_all(self, outcome: Outcome) -> None:
        """Remove all jobs and give them *outcome*; several threads may do so at once."""
        while True:
            try:
                job = self.popleft()
            except IndexError:
                return
            if job.claim():
                job.resolve(outcome)


class Child:
    """One child process, as the pool sees it.

    Attributes:
        serial: counts the pool's children; part of the mark in its environment.
        slot: the slot that it belongs to.
        handle: the process.
        channel: the pool's end of its socket.
        watch: descriptor that becomes readable when it dies; None where there is none.
        watched: its death is reported, by *watch* or by its zygote.
        state: see the drawing above.
        deadline: when it must have booted, replied or ended, monotonic.
        jobs: jobs that were sent to it and not replied to; the first runs, the others wait.
        permits: eventfd that counts the jobs it may begin of those sent ahead; None: nothing may
            be sent ahead.
        depth: number of jobs that it should have.
        last_reply_at: when it last replied, or was sent a job with no other to do; monotonic.
        drained: when it last replied, it had done all its jobs.
        recalled: jobs were recalled whose frames it has yet to read and skip.
        recall_barrier: number of the job whose reply shows that it has; 0: not sent yet.
        listening: the poller watches its socket.
        boot_error: why it could not boot, as it said itself.
    """

    __slots__ = (
        "boot_error", "channel", "deadline", "depth", "drained", "handle", "jobs", "last_reply_at",
        "listening", "permits", "recall_barrier", "recalled", "serial", "slot", "state", "watch",
        "watched",
    )  # fmt: skip

    def __init__(
        self, serial: int, slot: Slot, handle: Handle, channel: Channel, watch: int | None
    ) -> None:
        self.serial = serial
        self.slot = slot
        self.handle = handle
        self.channel = channel
        self.watch = watch
        self.watched = watch is not None
        self.state = State.BOOTING
        self.deadline = math.inf
        self.jobs: deque[Job] = deque()
        self.permits: int | None = None
        self.depth = 1
        self.last_reply_at = 0.0
        self.drained = False
        self.recalled = False
        self.recall_barrier = 0
        self.listening = True
        self.boot_error = ""

    @property
    def job(self) -> Job | None:
        """The job that it runs; any thread may ask."""
        try:
            return self.jobs[0]
        except IndexError:
            return None


class Slot:
    """The permission to run one task at a time.

    Attributes:
        index: from 0.
        child: the process that runs, or will run, the slot's task.
        spare: the next process, booted ahead, where each task gets a fresh one.
        retry_at: no process is started before this moment, because one died at boot; monotonic.
    """

    __slots__ = ("child", "index", "retry_at", "spare")

    def __init__(self, index: int) -> None:
        self.index = index
        self.child: Child | None = None
        self.spare: Child | None = None
        self.retry_at = 0.0
