"""Run tasks in N child processes: the base of the executors ``loky``, ``spawn``, ``forkserver``.

N slots with a child each, a private socket to each child, one thread for all::

    submit ─► queue ─► slot ─socket─► child: function(task)
                                        │
    future ◄─ outcome ◄─ reply, or ◄────┘
              death, deadline, abort

``loop`` is the thread. It assigns jobs by ``scheduler``, which sends short ones ahead by
``pipelining``; ``state`` holds what these three share. ``processes`` starts and reaps children,
``channel`` talks to them by ``common.protocol``. ``crash_info`` and ``outcomes`` turn replies and
deaths into outcomes. ``memory_watch`` and ``log_receiver`` have threads of their own; ``watchdog``
and ``orphan_killer`` see that no process is left.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import ClassVar

from cloud_tasks.errors import ConfigurationError, ExecutorBrokenError
from cloud_tasks.executors.base import Capabilities, Executor, ExecutorOptions, Running
from cloud_tasks.executors.common import log_setup, protocol
from cloud_tasks.executors.common.call import Reply, describe
from cloud_tasks.executors.common.flag_page import WorkerPage
from cloud_tasks.executors.common.main_module import GUARD_TEXT, is_loading
from cloud_tasks.executors.function import FunctionSpec, serialise, serialise_worker_data
from cloud_tasks.executors.pool import launcher
from cloud_tasks.executors.pool.crash_info import CrashCollector
from cloud_tasks.executors.pool.log_receiver import LogReceiver, open_receiver
from cloud_tasks.executors.pool.loop import PoolLoop
from cloud_tasks.executors.pool.memory_watch import MemoryWatch
from cloud_tasks.executors.pool.outcomes import reply_outcome
from cloud_tasks.executors.pool.poller import Poller
from cloud_tasks.executors.pool.processes import ChildProcesses, block_stop_signals
from cloud_tasks.executors.pool.shared_tracker import shared_tracker
from cloud_tasks.executors.pool.state import Descriptors, Handle, Job
from cloud_tasks.executors.pool.watchdog import Lifeline
from cloud_tasks.outcome import Outcome
from cloud_tasks.system import machine
from cloud_tasks.system.processes import fill_standard_descriptors
from cloud_tasks.system.shortage import start_thread
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)

#: Descriptors kept free for everything that is not a slot: the watchdog, the poller, the wake-up,
#: the flag page, a process being started, the log socket, the event log, a file of the user's.
_RESERVE = 26


class SlotPool(Executor):
    """N child processes; a subclass says how one is started and how long it lives."""

    capabilities = Capabilities(
        enforces_timeout=True,
        enforces_memory=True,
        isolates_crashes=True,
        live_flags=True,
        captures_output=True,
    )
    #: A child takes task after task; else it takes one, and its successor boots meanwhile.
    reused: ClassVar[bool]
    #: Descriptors of the worker that one slot takes.
    descriptors_per_slot: ClassVar[int]
    #: Module of ``executors.child`` whose ``main`` each started process runs.
    child_module: ClassVar[str] = "main"
    #: Starts and reaps the processes.
    processes: ClassVar[type[ChildProcesses]] = ChildProcesses

    def __init__(self) -> None:
        self._loop: PoolLoop | None = None
        self._log_receiver: LogReceiver | None = None
        self._lifeline: Lifeline | None = None
        self._closed = False
        self._numbers = itertools.count(1)

    def _prepare(self) -> None:
        """Check that processes can be started here.

        Raises:
            ConfigurationError: they can't.
        """
        launcher.check_executable()

    def _launch(
        self, end: socket.socket, cookie: bytes, inherited: Descriptors, environment: dict[str, str]
    ) -> Handle:
        """Start a process that runs ``main`` of :attr:`child_module` on *end*.

        Raises:
            OSError: no process or descriptor is to be had.
        """
        return launcher.Interpreter(self.child_module, end, cookie, inherited, environment)

    # -- starting

    def start(
        self, function: FunctionSpec, worker_data: WorkerData, options: ExecutorOptions
    ) -> None:
        """Start the pool's thread and watchdog; children start when there is work."""
        if self._loop is not None:
            raise RuntimeError("an executor can't be started twice")
        if os.name != "posix":
            raise ConfigurationError(
                "this executor needs POSIX process groups: on Windows use --executor inline, or WSL"
            )
        if is_loading():
            raise ConfigurationError(GUARD_TEXT)
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # A run in the main thread has changed that by now.
            raise ConfigurationError(
                "SIGCHLD is ignored, so the exit codes of tasks would be lost: run the worker in "
                "the main thread, or call signal.signal(signal.SIGCHLD, signal.SIG_DFL) there"
            )
        self._main = function.main
        # First what may fail, while nothing has been opened yet.
        payload = function.pickled()
        data = serialise_worker_data(worker_data, function.main)
        self._prepare()
        fill_standard_descriptors()
        self._on_broken = options.on_broken
        self.slots = self._affordable(options.slots)
        # Children write task logs, and may have another current folder.
        logs_at = options.task_logs and os.path.abspath(options.task_logs)  # noqa: PTH100
        options = replace(options, slots=self.slots, task_logs=logs_at)
        self.flags = self._page = WorkerPage(self.slots)
        crashes = CrashCollector(self._page, options.task_logs)
        self._loop = self._open_loop(payload, data, crashes, options)
        self._memory_watch = MemoryWatch(
            self._loop,
            options.memory_limit or None,
            (crashes.warn_of_log_error, self._children.kill_stopped_watchdog),
        )
        self._thread = threading.Thread(target=self._run, name="cloud_tasks-pool", daemon=True)
        start_thread(self._thread)
        self._memory_watch.start()
        # Without it, multiprocessing's exit handler would wait for children that wait for us.
        atexit.register(self.shutdown)

    def _boot_message(
        self, function: bytes, worker_data: bytes, lifeline: Lifeline, options: ExecutorOptions
    ) -> Callable[[int], protocol.BootMessage]:
        """Return a function that makes the boot message for the child of a slot."""
        return partial(
            protocol.BootMessage,
            sys_path=list(sys.path),
            argv=list(sys.argv),
            authkey=_authkey(),
            function=function,
            worker_data=worker_data,
            main=None if self._main is None else (self._main.how, self._main.where),
            crash_file=self._page.crash_file,
            lifeline=lifeline.file,
            tracker=shared_tracker().file,
            reused=self.reused,
            max_result_bytes=options.max_result_bytes,
            # Memory that earlier tasks left would be counted as the next one's.
            retire_above=options.memory_limit // 2 if options.memory_limit else 0,
            logging=log_setup.plan_for_children(options.log_level),
            task_logs=options.task_logs,
        )

    def _open_loop(
        self,
        function: bytes,
        worker_data: bytes,
        crashes: CrashCollector,
        options: ExecutorOptions,
    ) -> PoolLoop:
        poller = Poller()
        try:
            self._lifeline = lifeline = Lifeline()
            self._log_receiver = open_receiver(options)
            log = None if self._log_receiver is None else self._log_receiver.fileno()
            self._children = self.processes(
                self._launch,
                self._boot_message(function, worker_data, lifeline, options),
                poller,
                options.environment,
                lifeline,
                self._page.descriptor,
                log,
                reused=self.reused,
            )
            self._children.open()
        except OSError as error:
            poller.close()
            if self._log_receiver is not None:
                self._log_receiver.close()
            self._release_shared()
            raise ExecutorBrokenError(f"no process could be started: {error}") from error
        return PoolLoop(self._children, poller, self._page, crashes, options, reused=self.reused)

    def _release_shared(self) -> None:
        self._page.close()
        if self._lifeline is not None:
            self._lifeline.close()

    def _affordable(self, slots: int) -> int:
        """Return how many of *slots* the limit of descriptors allows.

        Raises:
            ExecutorBrokenError: none.
        """
        free = machine.free_descriptors()
        if free is None:
            return slots
        per_slot = self.descriptors_per_slot
        possible = (free - _RESERVE) // per_slot
        if possible < 1:
            raise ExecutorBrokenError(
                f"not enough file descriptors for a single slot: {free} are left, "
                f"{_RESERVE + per_slot} are needed; raise the limit (ulimit -n)"
            )
        if possible < slots:
            logger.warning(
                "file descriptors are scarce: %d slots instead of %d; raise the limit (ulimit -n)",
                possible,
                slots,
            )
        return min(slots, possible)

    def _run(self) -> None:
        assert self._loop is not None
        block_stop_signals()  # they are for the main thread
        try:
            self._loop.run()
        except BaseException as error:
            logger.exception("ending the executor's own thread failed")
            self._on_broken(ExecutorBrokenError(f"a defect in the executor: {error!r}"))
        finally:
            if self._log_receiver is not None:
                self._log_receiver.close()

    # -- running tasks

    def submit(self, task: Task, *, max_runtime: float | None = None) -> Future[Outcome]:
        """Queue *task* for the next free slot. Never blocks."""
        if self._loop is None or self._closed:
            raise RuntimeError("the executor is not running")
        try:
            data = task.data if type(task.data) is dict else dict(task.data)
            payload = serialise((task.task_id, data), self._main)
        except BaseException as error:  # noqa: BLE001 - pickling runs the user's classes
            return _unsendable(error)
        number = next(self._numbers)
        job = Job(number, task.task_id, protocol.TASK_HEAD.pack(number) + payload, max_runtime)
        self._loop.submit(job)
        return job

    def running(self) -> list[Running]:
        """Return the tasks whose function has been called, by slot."""
        return [] if self._loop is None else self._loop.running()

    def request_shutdown(self) -> None:
        """Set ``worker_data.received_shutdown_request``; a stop signal no longer ends a task."""
        if self._loop is not None:
            # First: a child that finds the flag set reports so, and the loop must know why.
            self._loop.call_soon(self._loop.on_stop)
        super().request_shutdown()

    def abort(self, future: Future[Outcome], reason: str) -> bool:
        """Kill the task's process and all below it, if it still runs."""
        if not isinstance(future, Job) or future.done() or self._loop is None:
            return False
        self._loop.call_soon(partial(self._loop.abort, future, reason))
        return True

    def shutdown(
        self,
        *,
        grace: float = 0.0,
        reason: str = "the executor was shut down",
        wait: bool = True,
        now: bool = False,
    ) -> None:
        """Accept no more tasks, abort running ones after *grace* seconds, leave no process."""
        if self._loop is None:
            return
        self._closed = True
        self._loop.call_soon(partial(self._loop.close, time.monotonic() + grace, reason))
        if now:
            self._loop.call_soon(self._loop.kill_exiting)
        if not wait:
            return
        self._thread.join()
        if self._log_receiver is not None:
            self._log_receiver.join()
        atexit.unregister(self.shutdown)
        self._memory_watch.stop()
        self._release_shared()


def _authkey() -> bytes | None:
    """Return multiprocessing's key of this process; None if it is not in use, so has made none."""
    module = sys.modules.get("multiprocessing.process")
    return None if module is None else bytes(module.current_process().authkey)


def _unsendable(error: BaseException) -> Future[Outcome]:
    """Return the resolved future of a task whose data can't be pickled."""
    future: Future[Outcome] = Future()
    future.set_running_or_notify_cancel()
    future.set_result(reply_outcome(Reply(protocol.RAISED, describe(error)), None, 0.0))
    return future
