"""Boot once, then run one task after the other: the main loop of a child process.

    worker ──TASK, AHEAD──► SocketEnd.read() ──► TaskRunner._run()
                                                    AHEAD: take a permit, or skip the task
                                                    TaskOutput.redirect(), PeakMemory.before()
                                                    unpickle (task_id, data)
                                                    call(): _begin() records the start,
                                                            then the user's function runs
                                                    PeakMemory.after()
    worker ◄─DONE, RAISED, EXITING── write() ◄── TaskRunner._reply()
                                                    flush streams, ProcessState.restore(),
                                                    ask to be retired if that failed

Started by pool/launcher.py; a zygote (zygote.py) boots in the same way, and each process that it
forks runs one task in this loop. A process for one task stops after it, a reused one when the
socket closes.

Everything runs in the main thread. Imports are few and late: every fresh process pays for them.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable

from cloud_tasks.executors.child import stop_signals
from cloud_tasks.executors.child.import_hook import on_import
from cloud_tasks.executors.child.lifeline import die_with_worker
from cloud_tasks.executors.child.peak_memory import (
    WORTH_MEASURING,
    PeakMemory,
    PeakMemoryOfForked,
    tree_exceeds,
)
from cloud_tasks.executors.child.socket_end import SocketEnd
from cloud_tasks.executors.child.tracker import use_tracker
from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.call import Reply, UserFunction, call, describe, flush_streams
from cloud_tasks.executors.common.exception_text import frames_of, message_of, traceback_of
from cloud_tasks.executors.common.flag_page import FlagPage
from cloud_tasks.executors.common.main_module import adopt_globals, load_main
from cloud_tasks.worker_data import WorkerData

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloud_tasks.executors.child.output import TaskOutput

#: Seconds for which short tasks are not looked at for changes in the kernel that no call of a
#: Python function made: it takes 40 us, more than all else for a no-op task.
_LOOK_EVERY = 0.1


#: Signals that a task must not find ignored because the worker's parent ignored them: those of a
#: crash, and SIGCHLD, without which the exit codes of its subprocesses are lost.
_NEVER_IGNORED = (
    "SIGABRT", "SIGBUS", "SIGCHLD", "SIGFPE", "SIGILL", "SIGQUIT", "SIGSEGV", "SIGSYS", "SIGTRAP",
)  # fmt: skip


def main(
    descriptor: int, cookie: bytes, *, page: int, permits: int | None = None, log: int | None = None
) -> None:
    """Serve the worker at the other end of *descriptor* until it closes.

    *page* is the flag page, closed once it is mapped; *permits* the eventfd for tasks that are sent
    ahead, see ``protocol``; *log* the socket to send log records to, see ``log_sender``. None:
    there is none.

    Raises:
        SystemExit: a task called ``sys.exit``: end this process with that code.
    """
    isolate(descriptor, page, permits, log)
    socket = SocketEnd(descriptor, cookie, permits)
    try:
        runner = boot(socket, page, log)
        if runner is not None:
            socket.write(protocol.READY, b"")
            runner.serve()
    except KeyboardInterrupt:
        # A SIGINT for this process alone, between two tasks: it is replaced when next needed.
        os._exit(128 + signal.SIGINT)


def isolate(*descriptors: int | None) -> None:
    """Leave the terminal and the worker's session, set up signals, and close stdin.

    Processes that a task starts inherit none of *descriptors*.
    """
    for number in descriptors:
        if number is not None:
            os.set_inheritable(number, False)
    with contextlib.suppress(OSError):  # fails if the launcher has begun the session already
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in _NEVER_IGNORED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    stop_signals.handler.install()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null != 0:
        os.close(null)
    for stream in (sys.stdout, sys.stderr):
        # What is in a buffer is lost when a process is killed.
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)


def boot(
    socket: SocketEnd, page: int, log: int | None, *, forks: bool = False
) -> TaskRunner | None:
    """Receive the boot message and do what it says; None if that failed, which was reported.

    *forks*: this is a zygote, which outlives the worker for a moment to end what it has forked.
    """
    frame = socket.read()
    if frame is None:
        return None
    message: protocol.BootMessage = pickle.loads(frame[1])  # noqa: S301 - made by the worker
    # Only objects of Python and ours: the user's may count on being collected at the end.
    gc.freeze()
    sys.path[:] = message.sys_path
    sys.argv[:] = message.argv
    key = message.authkey
    if key is not None:
        on_import("multiprocessing.process", lambda: _set_authkey(key))
    flags = FlagPage(page, message.crash_file)
    os.close(page)
    if not forks:
        die_with_worker(message.lifeline)
    use_tracker(message.tracker)
    try:
        runner = TaskRunner(socket, message, flags, log)
    except BaseException as error:  # noqa: BLE001 - the user's module may raise anything
        from cloud_tasks.errors import ConfigurationError

        kind, text = protocol.BOOT_FAILED, traceback_of(error, frames_of(error))
        if isinstance(error, ConfigurationError):
            kind, text = protocol.BOOT_IMPOSSIBLE, message_of(error)
        socket.write(kind, text.encode(errors="backslashreplace"))
        return None
    return runner


def _set_authkey(key: bytes) -> None:
    """Give multiprocessing the worker's key, by which managers know their clients."""
    # Not from the package itself, which may still be importing this module of it.
    from multiprocessing import process

    process.current_process().authkey = key


class TaskRunner:
    """The function and all it needs in this process, and the loop that runs tasks.

    Attributes:
        crash_traceback: where a crash of this process writes its traceback.
        lifeline: see ``lifeline``.
    """

    def __init__(
        self, socket: SocketEnd, boot: protocol.BootMessage, flags: FlagPage, log: int | None
    ) -> None:
        self._socket = socket
        self._main = boot.main
        self._slot = boot.slot
        #: The task that runs now, for its log records; None between two tasks.
        self._task_id: str | None = None
        self._max_result_bytes = boot.max_result_bytes
        self._retire_above = boot.retire_above
        self._reused = boot.reused
        self._flags = flags
        self.lifeline = boot.lifeline
        self.crash_traceback = self._flags.enable_crash_traceback(self._slot)
        self._output: TaskOutput | None = None
        if boot.task_logs is not None:
            from cloud_tasks.executors.child.output import TaskOutput

            on_error = self._flags.record_log_error
            self._output = TaskOutput(boot.task_logs, self._slot, on_error, reused=self._reused)
        changes = None
        if self._reused:
            from cloud_tasks.executors.child.restore import ChangeTracker

            changes = ChangeTracker()
        self._function: UserFunction = self._load_from_main(boot.function)
        if self._main is None:
            adopt_globals(self._function)
        self._worker_data: WorkerData = self._load_from_main(boot.worker_data)
        self._worker_data.connect(self._flags)
        plan = boot.logging
        if plan is not None:
            # With a hook in sys.meta_path: to import and set up logging here, which most light
            # tasks do not need, took a no-op task 23 % more CPU with spawn (48 ms instead of 39)
            # and 19 % more with forkserver (2.18 instead of 1.83; logging has after-fork work).
            on_import("logging", lambda: self._set_up_logging(plan, log))
        self._memory: PeakMemory | PeakMemoryOfForked = PeakMemory()
        self._retire = False
        self._next_look = 0.0
        self._state = None
        if self._output is not None and self._reused:
            self._output.redirect()
        stop_signals.handler.connect(self._on_stop_signal)
        if changes is not None:
            from cloud_tasks.executors.child.restore import ProcessState

            self._state = ProcessState(changes, descriptors=self._output is None)

    def _set_up_logging(self, plan: dict[str, Any], log: int | None) -> None:
        from cloud_tasks.executors.child.log_sender import set_up

        set_up(plan, log, self._slot, lambda: self._task_id)

    def _load_from_main(self, payload: bytes) -> Any:
        """Unpickle *payload* of the boot message.

        Raises:
            ConfigurationError: the main program lacks what it refers to.
        """
        try:
            return self._load(payload)
        except AttributeError as error:
            if "__main__" not in str(error) and "__mp_main__" not in str(error):
                raise
            from cloud_tasks.errors import ConfigurationError

            raise ConfigurationError(
                f"the main program, loaded in a child process, lacks something ({error}): define "
                'it at the top level, not under `if __name__ == "__main__":`'
            ) from error

    def _load(self, payload: bytes) -> Any:
        """Unpickle *payload*, after loading the user's main program if it refers to that."""
        if self._main is not None and b"_main__" in payload:
            load_main(*self._main)
        return pickle.loads(payload)  # noqa: S301 - made by the worker

    def prepare_fork(self, socket: SocketEnd) -> None:
        """Prepare for a process that will be forked from this one, with a *socket* of its own."""
        self._socket = socket
        self._memory = PeakMemoryOfForked()
        self.crash_traceback.rewind()

    def warm_up(self, times: int) -> None:
        """Run a task that does nothing *times* times, with a socket of its own.

        Python specializes code and fills caches while it runs. Done before a fork, all forked
        processes share the result; else each writes it anew, and copies the pages that hold it.
        """
        import socket

        ours, theirs = socket.socketpair()
        with ours, theirs:
            real = self._socket, self._function, self._output, self._memory
            cookie = bytes(protocol.COOKIE_BYTES)
            self._socket = SocketEnd(theirs.fileno(), cookie, None)
            self._function, self._output, self._memory = _no_op, None, PeakMemoryOfForked()
            body = protocol.TASK_HEAD.pack(0) + pickle.dumps(("", {}))
            task = protocol.frame(cookie, protocol.TASK, body)
            for _ in range(times):
                ours.send(task)
                self.serve()
                ours.recv(4096)
            self._socket, self._function, self._output, self._memory = real

    def serve(self) -> None:
        """Run tasks until the worker closes; a process for one task returns after it.

        Raises:
            SystemExit: the task called ``sys.exit``.
        """
        while True:
            frame = self._socket.read()
            if frame is None:
                return
            code = self._run(*frame)
            if code is not None:
                raise SystemExit(code)
            if not self._reused or self._retire:
                return

    def _run(self, kind: int, body: bytes) -> int | None:
        """Run one task and reply; return the exit code if the task called ``sys.exit``."""
        (job,) = protocol.TASK_HEAD.unpack_from(body)
        if kind == protocol.AHEAD and not self._socket.take_permit():
            return None  # the worker has recalled it
        if self._output is not None and not self._reused:
            # Not earlier: until now the task of the slot's last process was running.
            self._output.redirect()
        self._memory.before()
        try:
            task_id, data = self._load(body[protocol.TASK_HEAD.size :])
        except BaseException as error:  # noqa: BLE001 - unpickling runs the user's classes
            reply = Reply(protocol.RAISED, describe(error))
        else:
            self._task_id = task_id
            reply = call(
                self._function,
                task_id,
                data,
                self._worker_data,
                max_result_bytes=self._max_result_bytes,
                on_start=lambda: self._begin(job, task_id),
                single_use=not self._reused,
            )
            self._task_id = None
        peak = self._memory.after(0.0 if math.isnan(reply.run_time) else reply.run_time)
        self._reply(job, reply, peak)
        return int(reply.body) if reply.kind == protocol.EXITING else None

    def _on_stop_signal(self, number: int) -> None:
        """Let the task go on if the worker is stopping, else die; without a task do nothing."""
        if self._task_id is None:
            return
        if stop_signals.wait_until(lambda: self._flags.shutdown_request, protocol.STOP_PATIENCE):
            # No frame is half-written: this thread writes them, and only between two tasks.
            self._socket.write(protocol.SIGNALLED, b"")
        else:
            stop_signals.die_of(number)

    def _begin(self, job: int, task_id: str) -> None:
        self.crash_traceback.enable()  # the last task may have disabled it
        if self._output is not None:
            self._output.begin(task_id)
        self._flags.record_start(self._slot, job, time.monotonic())

    def _reply(self, job: int, reply: Reply, peak: float) -> None:
        if self._state is None:
            flush_streams()
        if self._output is not None:
            self._output.flush_c()
        if self._state is not None:
            short = reply.run_time < WORTH_MEASURING
            # Amid very short tasks, the next one of which has arrived already.
            quickly = self._socket.has_more and short
            kernel = not quickly and (not short or time.monotonic() >= self._next_look)
            if kernel:
                self._next_look = time.monotonic() + _LOOK_EVERY
            problem = self._state.restore(quickly=quickly, kernel=kernel)
            # A process that can't be restored, or has grown too large, runs no further task.
            self._retire = bool(problem) or not self._has_room()
        head = protocol.REPLY_HEAD.pack(
            job,
            reply.retry,
            reply.replaced_nan,
            self._retire,
            reply.started,
            reply.run_time,
            reply.cpu_time,
            peak,
        )
        self._socket.write(reply.kind, head + reply.body)

    def _has_room(self) -> bool:
        """Return whether the memory that tasks have left leaves the next one room to its limit."""
        return not self._retire_above or not tree_exceeds(self._retire_above)


def _no_op(task_id: str, data: Any, worker_data: WorkerData) -> tuple[bool, None]:
    return False, None
