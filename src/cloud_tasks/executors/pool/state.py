"""One slot of a pool: the permission to run one task, and the child process that runs it.

::

    child:  BOOTING ─ready─► IDLE ─task─► BUSY ─reply─► IDLE        (reused)
                                           └───reply─► LEAVING      (fresh process, sys.exit)
            any ─limit, abort─► DOOMED        any ─death─► gone
"""

from __future__ import annotations

import enum
import math
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from cloud_tasks.executors.base import Running
from cloud_tasks.executors.common.flag_page import FlagPage
from cloud_tasks.executors.pool.channel import Channel
from cloud_tasks.outcome import Outcome


class State(enum.Enum):
    """Where a child stands."""

    BOOTING = enum.auto()
    IDLE = enum.auto()
    BUSY = enum.auto()
    LEAVING = enum.auto()
    DOOMED = enum.auto()


class News(enum.Enum):
    """What is told of a child by somebody else."""

    BORN = enum.auto()
    DEAD = enum.auto()


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What a new process inherits beside its socket; they stay ours to close.

    Attributes:
        tokens: the eventfd for tasks that are sent ahead, see ``wire``; None: none are.
        log: where it sends its log records; None: nowhere.
        control: a zygote's end of the socket for births and deaths, see ``birth``.
    """

    tokens: int | None = None
    log: int | None = None
    control: int | None = None


class Handle(Protocol):
    """The operating system's side of a child process."""

    @property
    def pid(self) -> int | None:
        """Its number; None: it is on its way."""

    def exit_code(self) -> int | None:
        """Reap it if it has ended; None: it runs, or somebody else has reaped it."""


class Job(Future[Outcome]):
    """One task on its way through the pool, and the future of its outcome.

    One object, since two that know each other would be left to the cycle collector, which takes
    a quarter of the worker's time then.

    Attributes:
        number: counts the pool's jobs from 1.
        task_id: of the task.
        body: the task as it travels to the child.
        max_runtime: seconds, infinite for no limit.
        given: when a slot was there for it, monotonic; 0.0 before.
        sent: when it went to a child, monotonic.
        lost: how often a child died before it called the function.
        claimed: it is running, for those who hold the future: it can't be cancelled any more.
        resolved: it has its outcome.
        verdict: why we end it: set before the kill, so that the death is understood.
        withdrawn: it was found cancelled.
        memory: bytes that its processes used at the last look; None: nobody has looked.
        free_memory: bytes that there still were at the first look.
    """

    given = 0.0
    sent = 0.0
    lost = 0
    claimed = False
    resolved = False
    verdict: Outcome | None = None
    withdrawn = False
    memory: int | None = None
    free_memory: int | None = None

    def __init__(self, number: int, task_id: str, body: bytes, max_runtime: float | None) -> None:
        super().__init__()
        self.number = number
        self.task_id = task_id
        self.body = body
        self.max_runtime = math.inf if max_runtime is None else max_runtime

    def claim(self) -> bool:
        """Take it from the queue, to run or to resolve it; False if it needs neither any more.

        A cancelled future may be asked only once, and a job that was aborted while it waited is
        met again in the queue.
        """
        if self.withdrawn or self.resolved:
            return False
        # One that comes back to the queue is running already, for those who hold the future.
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


class Child:
    """One child process, as the parent sees it.

    Attributes:
        serial: counts the pool's children; part of the mark in its environment.
        handle: the operating system's side.
        channel: our end of its socket.
        watch: descriptor that tells its death; None where there is no such means.
        watched: its death is told, by that or by somebody else.
        state: where it stands.
        deadline: when something must have happened, monotonic: the boot, the reply, the end.
        jobs: what it was sent and has not answered: the first one runs, the others wait.
        tokens: eventfd with one token for each job that was sent ahead and not begun; None:
            nothing may be sent ahead.
        depth: how many jobs it should have.
        progress_at: when it answered last, monotonic.
        ran_dry: when we last heard of it, it had done all that it had.
        recalled: jobs were taken back from it, and it has yet to come across them.
        clean_after: the job whose answer tells that it has.
        listening: the poller watches its socket.
        complaint: why it could not boot, in its own words.
    """

    __slots__ = (
        "channel", "clean_after", "complaint", "deadline", "depth", "handle", "jobs", "listening",
        "progress_at", "ran_dry", "recalled", "serial", "slot", "state", "tokens", "watch",
        "watched",
    )  # fmt: skip

    def __init__(
        self,
        serial: int,
        slot: Slot,
        handle: Handle,
        channel: Channel,
        watch: int | None,
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
        self.tokens: int | None = None
        self.depth = 1
        self.progress_at = 0.0
        self.ran_dry = False
        self.recalled = False
        self.clean_after = 0
        self.listening = True
        self.complaint = ""

    @property
    def job(self) -> Job | None:
        """What it runs; may be asked for by any thread."""
        try:
            return self.jobs[0]
        except IndexError:
            return None


class Slot:
    """Permission to run one task at a time.

    Attributes:
        index: from 0.
        child: the process that has, or will have, the slot's task.
        spare: the next one, booted ahead, where each task gets a fresh process.
        retry_at: not before this moment is a new process started, after one died at boot.
    """

    __slots__ = ("child", "index", "retry_at", "spare")

    def __init__(self, index: int) -> None:
        self.index = index
        self.child: Child | None = None
        self.spare: Child | None = None
        self.retry_at = 0.0

    @property
    def children(self) -> tuple[Child, ...]:
        """Its processes, the current one first."""
        return tuple(c for c in (self.child, self.spare) if c is not None)


def running(slots: Iterable[Slot], flags: FlagPage) -> list[Running]:
    """Return the tasks in *slots* whose function has been called; any thread may ask."""
    # One moment for all: else what began later might have run longer.
    now = time.monotonic()
    found = []
    for slot in slots:
        child = slot.child
        job = None if child is None else child.job
        if job is not None:
            started = flags.started_at(slot.index, job.number, job.sent)
            if started is not None:
                found.append(Running(job.task_id, slot.index, max(0.0, now - started)))
    return found
