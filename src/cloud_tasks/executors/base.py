"""What every executor can do.

An executor runs one function over tasks, ``slots`` at a time. ``submit`` returns a
:class:`concurrent.futures.Future` that always gets an :data:`~cloud_tasks.outcome.Outcome`:
what a task did is a value, never an exception.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cloud_tasks.errors import ExecutorBrokenError
from cloud_tasks.outcome import Outcome
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

if TYPE_CHECKING:
    from cloud_tasks.executors.common.flag_page import FlagPage
    from cloud_tasks.executors.function import FunctionSpec


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an executor can hold to. The contract tests skip by these, and say so.

    Attributes:
        enforces_timeout: a task over its time is ended, not merely reported.
        enforces_memory: a task over the memory limit is ended.
        isolates_crashes: the end of a task's process touches nobody else.
        live_flags: a running task sees the flags change.
        needs_main_thread: ``submit`` runs the task before it returns, in the caller's thread.
        captures_output: what a task prints and logs can be kept apart from that of all others.
    """

    enforces_timeout: bool
    enforces_memory: bool
    isolates_crashes: bool
    live_flags: bool
    needs_main_thread: bool = False
    captures_output: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A task that runs now.

    Attributes:
        task_id: its own.
        slot: which one has it, from 0.
        seconds: since its function was called.
    """

    task_id: str
    slot: int
    seconds: float


class LocalFlags:
    """The two live flags, for tasks that run in this process: ``worker_data.connect(flags)``.

    Tasks in other processes need :class:`~cloud_tasks.executors.common.flag_page.FlagPage`.

    Attributes:
        termination_notice: the provider has announced the end of this machine.
        shutdown_request: the worker has been asked to stop.
    """

    def __init__(self) -> None:
        self.termination_notice = False
        self.shutdown_request = False

    def announce_termination(self) -> None:
        """Set the first flag; running tasks see it the next time they read it."""
        self.termination_notice = True

    def request_shutdown(self) -> None:
        """Set the second flag."""
        self.shutdown_request = True


def _nothing() -> None:
    """Do nothing: nobody waits for the pause."""


def _ignore(error: ExecutorBrokenError) -> None:
    """Do nothing: nobody asked to be told."""


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """What an executor is told at its start.

    Attributes:
        slots: how many tasks run at once.
        memory_limit: bytes that a task's process tree may use; None: no limit.
        max_result_bytes: a longer JSON result is a failure of its task; 0: no limit.
        log_level: None leaves logging in child processes alone, and so does a child whose own
            program has given its root logger a handler. Else records go to the worker's handlers
            if its root logger has any at the start, under its levels, with ``task_id`` and
            ``slot``; if it has none, to stderr from this level on.
        task_logs: folder where the output of tasks is kept, a file a slot; None: it goes where
            the worker's own goes. Log records are output there, too.
        environment: variables that every process of tasks has beside the worker's.
        post_mortem: open the debugger where a task raised, if the executor runs tasks in the
            calling thread.
        exit_grace: seconds that a finished process may take to end, its ``atexit`` included.
        before_wait: called, from the thread that resolves futures, each time that thread is
            about to wait with nothing left to do; must not block for long.
        on_broken: called once when the executor can run no task any more. Futures that are
            unresolved then get ``Aborted``.
    """

    slots: int = 1
    memory_limit: int | None = None
    max_result_bytes: int = 64 * 2**20
    log_level: int | None = None
    task_logs: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    post_mortem: bool = False
    exit_grace: float = 10.0
    before_wait: Callable[[], None] = _nothing
    on_broken: Callable[[ExecutorBrokenError], None] = _ignore


class Executor(abc.ABC):
    """Runs one function over tasks.

    The life of an executor is ``start``, any number of ``submit`` and ``abort`` from any thread,
    ``shutdown``. It can't be started twice.
    """

    #: What it can hold to.
    capabilities: Capabilities

    #: How many tasks it runs at once, after ``start``: fewer than asked for where the machine's
    #: limits allow no more.
    slots: int = 1

    #: The flags that tasks read, made by ``start``; None: not started, or without live flags.
    flags: LocalFlags | FlagPage | None = None

    @abc.abstractmethod
    def start(
        self, function: FunctionSpec, worker_data: WorkerData, options: ExecutorOptions
    ) -> None:
        """Get ready; returns before any process has booted.

        Raises:
            ConfigurationError: no task could ever run: the platform lacks what is needed, or
                *worker_data* can't be sent.
            ExecutorBrokenError: there are not enough resources for a single slot.
        """

    @abc.abstractmethod
    def submit(self, task: Task, *, max_runtime: float | None = None) -> Future[Outcome]:
        """Run *task* when a slot is free; *max_runtime* in seconds from the function's call.

        Never blocks, but for executors that need the main thread. ``cancel()`` of the future
        works until the task was given to a slot.

        Raises:
            RuntimeError: not started, or shut down.
        """

    def running(self) -> list[Running]:
        """Return what runs now, as far as it can be known; from any thread, never blocks."""
        return []

    def announce_termination(self) -> None:
        """Set ``worker_data.received_termination_notice`` of all tasks, running ones included.

        From any thread, never blocks. Does nothing before ``start``, after ``shutdown``, and
        where the executor has no live flags.
        """
        if self.flags is not None:
            self.flags.announce_termination()

    def request_shutdown(self) -> None:
        """Set ``worker_data.received_shutdown_request``, as :meth:`announce_termination` does."""
        if self.flags is not None:
            self.flags.request_shutdown()

    @abc.abstractmethod
    def abort(self, future: Future[Outcome], reason: str) -> bool:
        """End that task now; its outcome is ``Aborted`` unless it ended by itself before.

        Returns False where the executor can't: the task goes on and nobody waits for it.
        """

    @abc.abstractmethod
    def shutdown(
        self,
        *,
        grace: float = 0.0,
        reason: str = "the executor was shut down",
        wait: bool = True,
        now: bool = False,
    ) -> None:
        """Take nothing new, let running tasks go on for *grace* seconds, then abort them.

        Tasks that have no slot yet are aborted at once; their outcome has no slot. May be called
        more than once, from any thread: the earliest end counts.

        Args:
            grace: seconds; may be infinite.
            reason: goes into ``Aborted``.
            wait: block until no process is left; else return at once.
            now: leave finished processes no time for their ``atexit`` work, either.
        """
