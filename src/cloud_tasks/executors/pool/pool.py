"""The pool behind every executor that runs tasks in processes.

N slots with a child each, one private socket each, one thread for all::

    submit ─► queue ─► slot ─socket─► child: function(task)
                                        │
    future ◄─ outcome ◄─ reply, or ◄────┘
              death, deadline, abort

The parts: ``engine`` is the thread's loop, ``dispenser`` gives jobs to children and takes back what
they have not begun, ``referee`` says what became of a job, ``deadlines`` what must have happened
by now, ``children`` starts and buries processes, ``channel`` and ``wire`` are their language,
``guardian`` and ``sweeper`` see to it that nothing stays behind.
"""

from __future__ import annotations

import abc
import atexit
import itertools
import logging
import os
import pickle
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
from cloud_tasks.executors.common.flag_page import FlagPage
from cloud_tasks.executors.common.main_module import GUARD_TEXT, is_loading
from cloud_tasks.executors.function import (
    FunctionSpec,
    refers_to_main,
    serialise,
    serialise_worker_data,
)
from cloud_tasks.executors.pool.crash_info import CrashCollector
from cloud_tasks.executors.pool.log_receiver import LogChannel, open_channel
from cloud_tasks.executors.pool.loop import Engine
from cloud_tasks.executors.pool.memory_watch import MemoryWatch
from cloud_tasks.executors.pool.outcomes import reply_outcome
from cloud_tasks.executors.pool.poller import Poller
from cloud_tasks.executors.pool.processes import ChildProcesses
from cloud_tasks.executors.pool.state import Descriptors, Handle, Job
from cloud_tasks.outcome import NOT_MEASURED, Outcome
from cloud_tasks.system import machine
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData

logger = logging.getLogger(__name__)

#: Descriptors kept free for everything that is not a slot: the watchdog, the poller, the wake-up,
#: the flag page, a process being started, the log channel, the event log, a file of the user's.
_RESERVE = 20


class SlotPool(Executor, abc.ABC):
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
    #: Descriptors of ours that one slot takes.
    descriptors_per_slot: ClassVar[int]
    #: Starts and buries the processes.
    nursery: ClassVar[type[ChildProcesses]] = ChildProcesses

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._log_channel: LogChannel | None = None
        self._closed = False
        self._numbers = itertools.count(1)

    def _prepare(self) -> None:
        """Import what starting a process needs, and make sure that it can be done here.

        Raises:
            ConfigurationError: it can't.
        """

    @abc.abstractmethod
    def _launch(
        self,
        end: socket.socket,
        token: bytes,
        inherited: Descriptors,
        environment: dict[str, str],
    ) -> Handle:
        """Start a process that runs ``child.main`` on *end*, with *environment* added.

        Raises:
            OSError: no process or descriptor is to be had.
        """

    def start(
        self, function: FunctionSpec, worker_data: WorkerData, options: ExecutorOptions
    ) -> None:
        """Start the pool's thread and guardian; children start when there is work."""
        if self._engine is not None:
            raise RuntimeError("an executor can't be started twice")
        self._check_place()
        self._main = function.main
        # The first things, since they may fail: nothing has been opened yet.
        payload = function.pickled()
        data = serialise_worker_data(worker_data, function.main)
        self._prepare()
        self.slots = self._affordable(options.slots)
        # Whoever opens the folder may have gone to another one before.
        logs_at = options.task_logs and os.path.abspath(options.task_logs)  # noqa: PTH100
        options = replace(options, slots=self.slots, task_logs=logs_at)
        self.flags = self._page = flags = FlagPage.create(self.slots)
        boot = partial(
            protocol.BootMessage,
            sys_path=list(sys.path),
            argv=list(sys.argv),
            function=payload,
            worker_data=data,
            main=function.main,
            flag_file=flags.path,
            reused=self.reused,
            max_result_bytes=options.max_result_bytes,
            # Memory that earlier tasks left would be counted as the next one's.
            retire_above=options.memory_limit // 2 if options.memory_limit else 0,
            logging=log_setup.plan_for_children(options.log_level),
            task_logs=options.task_logs,
        )
        searcher = CrashCollector(flags, options.task_logs)
        self._engine = self._make_engine(boot, flags, searcher, options)
        self._memory_watch = MemoryWatch(
            self._engine, options.memory_limit or None, searcher.tell_trouble
        )
        self._thread = threading.Thread(target=self._run, name="cloud_tasks-pool", daemon=True)
        self._thread.start()
        self._memory_watch.start()
        # Without it, multiprocessing's own exit handler would wait for children that wait for us.
        atexit.register(self.shutdown)

    @staticmethod
    def _check_place() -> None:
        if os.name != "posix":
            raise ConfigurationError(
                "this executor needs POSIX process groups: on Windows use --executor inline, or WSL"
            )
        if is_loading():
            raise ConfigurationError(GUARD_TEXT)

    def _make_engine(
        self,
        boot: Callable[[int], protocol.BootMessage],
        flags: FlagPage,
        searcher: CrashCollector,
        options: ExecutorOptions,
    ) -> Engine:
        poller = Poller()
        try:
            self._log_channel = open_channel(options)
            log = None if self._log_channel is None else self._log_channel.fileno()
            nursery = self.nursery(
                self._launch, boot, poller, flags.path, options.environment, log, reused=self.reused
            )
            nursery.open()
        except OSError as error:
            poller.close()
            if self._log_channel is not None:
                self._log_channel.end()
            flags.close()
            raise ExecutorBrokenError(f"no process could be started: {error}") from error
        return Engine(nursery, poller, flags, searcher, options, reused=self.reused)

    def _affordable(self, slots: int) -> int:
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
        assert self._engine is not None
        # Signals are for the main thread; what is blocked here, a child inherits while it boots,
        # so that a Ctrl-C at the terminal does not meet it half-made.
        signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
        )
        try:
            self._engine.run()
        finally:
            if self._log_channel is not None:
                self._log_channel.end()

    def submit(self, task: Task, *, max_runtime: float | None = None) -> Future[Outcome]:
        """Queue *task* for the next free slot. Never blocks."""
        if self._engine is None or self._closed:
            raise RuntimeError("the executor is not running")
        try:
            payload = self._encode(task)
        except Exception as error:  # noqa: BLE001 - pickling runs the user's classes
            return self._unsendable(error)
        number = next(self._numbers)
        job = Job(number, task.task_id, protocol.TASK_HEAD.pack(number) + payload, max_runtime)
        self._engine.submit(job)
        return job

    def _encode(self, task: Task) -> bytes:
        data = task.data if type(task.data) is dict else dict(task.data)
        message = (task.task_id, data)
        try:
            payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception:  # noqa: BLE001 - cloudpickle can do more
            return serialise(message, self._main)
        return serialise(message, self._main) if refers_to_main(payload) else payload

    @staticmethod
    def _unsendable(error: Exception) -> Future[Outcome]:
        from cloud_tasks.executors.common.call import describe

        future: Future[Outcome] = Future()
        future.set_running_or_notify_cancel()
        future.set_result(
            reply_outcome(protocol.RAISED, describe(error), False, False, NOT_MEASURED)
        )
        return future

    def running(self) -> list[Running]:
        """Return the tasks whose function has been called, by slot."""
        return [] if self._engine is None else self._engine.running()

    def abort(self, future: Future[Outcome], reason: str) -> bool:
        """Kill the task's process and all below it, if it still runs."""
        if not isinstance(future, Job) or future.done() or self._engine is None:
            return False
        engine, job = self._engine, future
        engine.tell(lambda: engine.abort(job, reason))
        return True

    def shutdown(
        self,
        *,
        grace: float = 0.0,
        reason: str = "the executor was shut down",
        wait: bool = True,
        now: bool = False,
    ) -> None:
        """Take nothing new, abort what runs after *grace* seconds, leave no process."""
        if self._engine is None:
            return
        self._closed = True
        engine, deadline = self._engine, time.monotonic() + grace
        engine.tell(lambda: engine.close(deadline, reason))
        if now:
            engine.tell(engine.hurry)
        if not wait:
            return
        self._thread.join()
        if self._log_channel is not None:
            self._log_channel.join()
        atexit.unregister(self.shutdown)
        self._memory_watch.stop()
        self._page.close()
