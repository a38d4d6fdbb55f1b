"""Define the interface of executors: run one function over tasks, ``slots`` at a time.

::

    start(function, worker_data, options) ─► submit(task) ─► Future[Outcome] ... ─► shutdown()
                                             abort(future, reason)
                                             announce_termination(), request_shutdown()

``submit`` returns a :class:`concurrent.futures.Future` that always gets an
:data:`~cloud_tasks.outcome.Outcome`: a value for everything that a task does, never an exception.
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
    """The guarantees of an executor. Contract tests skip what is not guaranteed, and print that.

    Attributes:
        enforces_timeout: a task over its time is ended, not merely reported.
        enforces_memory: a task over the memory limit is ended.
        isolates_crashes: if a task's process ends, no other task is affected.
        live_flags: a running task sees the flags change.
        needs_main_thread: ``submit`` runs the task before it returns, in the caller's thread.
        captures_output: output and log records of a task can be kept apart from those of others.
    """

    enforces_timeout: bool
    enforces_memory: bool
    isolates_crashes: bool
    live_flags: bool
    needs_main_thread: bool = False
    captures_output: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A task that is running.

    Attributes:
        task_id: ID of the task.
        slot: index of its slot, from 0.
        seconds: time since its function was called.
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


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """Options of an executor, passed to its ``start``.

    Attributes:
        slots: number of tasks that run at once.
        memory_limit: bytes that a task's process tree may use; None: no limit.
        max_result_bytes: a longer JSON result is a failure of its task; 0: no limit.
        log_level: None leaves logging in child processes alone; a child whose own program has
            given its root logger a handler is always left alone. Else records go to the worker's
            handlers if its root logger has any at the start, under its levels, with ``task_id``
            and ``slot``; if it has none, to stderr from this level on.
        task_logs: folder for the output of tasks, log records included, one file a slot; None:
            output goes where the worker's own goes.
        environment: variables that every process of tasks has beside the worker's.
        post_mortem: open the debugger where a task raised, if the executor runs tasks in the
            calling thread.
        exit_grace: seconds that a finished process may take to end, its ``atexit`` work included.
        before_wait: called by the thread that resolves futures, each time that it is about to
            wait with nothing left to do; must not block for long.
        on_broken: called once, when the executor can run no more tasks. Futures that are not
            resolved then get ``Aborted``.
    """

    slots: int = 1
    memory_limit: int | None = None
    max_result_bytes: int = 0
    log_level: int | None = None
    task_logs: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    post_mortem: bool = False
    exit_grace: float = 10.0
    before_wait: Callable[[], None] = lambda: None
    on_broken: Callable[[ExecutorBrokenError], None] = lambda error: None


class Executor(abc.ABC):
    """The base of all executors: runs one function over tasks.

    Call ``start`` once, then ``submit`` and ``abort`` from any thread, then ``shutdown``.
    """

    #: Its guarantees.
    capabilities: Capabilities

    #: Number of tasks that it runs at once, valid after ``start``: less than ``options.slots``
    #: where the machine's limits allow no more.
    slots: int = 1

    #: The flags that tasks read, made by ``start``; None: not started, or without live flags.
    flags: LocalFlags | FlagPage | None = None

    @abc.abstractmethod
    def start(
        self, function: FunctionSpec, worker_data: WorkerData, options: ExecutorOptions
    ) -> None:
        """Prepare to run *function*; returns before any process has booted.

        Raises:
            ConfigurationError: no task could ever run: the platform lacks what is needed, or
                *worker_data* can't be sent.
            ExecutorBrokenError: there are not enough resources for a single slot.
        """

    @abc.abstractmethod
    def submit(self, task: Task, *, max_runtime: float | None = None) -> Future[Outcome]:
        """Run *task* when a slot is free; *max_runtime* in seconds from the function's call.

        Never blocks, except in executors that need the main thread. ``cancel()`` of the future
        works until a slot is assigned to the task.

        Raises:
            RuntimeError: not started, or shut down.
        """

    def running(self) -> list[Running]:
        """Return the running tasks, as far as they are known; from any thread, never blocks."""
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
        """End the task of *future* now; its outcome is ``Aborted`` unless it has ended before.

        Returns False if the executor can't: the task goes on.
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
        """Refuse new tasks, let running ones go on for *grace* seconds, then abort them.

        Tasks without a slot are aborted at once; their outcome has no slot. May be called more
        than once, from any thread: the earliest end counts.

        Args:
            grace: seconds; may be infinite.
            reason: of the ``Aborted`` outcomes.
            wait: block until no process is left; else return at once.
            now: kill finished processes during their ``atexit`` work, too.
        """
