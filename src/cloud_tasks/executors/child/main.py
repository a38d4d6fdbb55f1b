"""What runs in a child process: boot once, then one task after the other.

Started by :mod:`~cloud_tasks.executors.loky` or :mod:`~cloud_tasks.executors.spawn`; talks to
its parent over one private socket, see :mod:`~cloud_tasks.executors.common.protocol`. It ends
when the socket closes. It imports little: every fresh process pays for it.
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

from cloud_tasks.executors.child.import_hook import once_imported
from cloud_tasks.executors.child.peak_memory import WORTH_MEASURING, PeakMemory, PeakMemoryOfForked
from cloud_tasks.executors.child.socket_end import Socket
from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.call import Reply, UserFunction, call, flush_streams, refused
from cloud_tasks.executors.common.flag_page import FlagPage
from cloud_tasks.worker_data import WorkerData

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloud_tasks.executors.child.output import TaskOutput
    from cloud_tasks.executors.child.restore import Changes


class RunningTask:
    """Which task runs in this process: for its log records, also from threads of the task.

    Attributes:
        task_id: None: none does now.
        slot: the process's own.
    """

    __slots__ = ("slot", "task_id")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.task_id: str | None = None


class TaskRunner:
    """One booted process: the function, what it is told, and how to run a task.

    Attributes:
        crashes: writes down how it crashes.
    """

    def __init__(self, socket: Socket, boot: protocol.BootMessage, log: int | None) -> None:
        self._socket = socket
        self._main = boot.main
        self._slot = boot.slot
        self._running = RunningTask(self._slot)
        self._max_result_bytes = boot.max_result_bytes
        self._retire_above = boot.retire_above
        self._reused = boot.reused
        self._flags = FlagPage(boot.flag_file)
        self.crashes = self._flags.catch_crashes(self._slot)
        self._output = self._make_output(boot.task_logs)
        changes = _note_changes() if self._reused else None
        self._function: UserFunction = self._load(boot.function)
        self._worker_data: WorkerData = self._load(boot.worker_data)
        self._worker_data.connect(self._flags)
        plan = boot.logging
        if plan is not None:
            # Of the light tasks many do without it, and it takes a sixth of their process's life.
            once_imported("logging", lambda: self._set_up_logging(plan, log))
        self._memory: PeakMemory | PeakMemoryOfForked = PeakMemory()
        self._worn = False
        self._state = None
        if self._output is not None and self._reused:
            self._output.take_over()
        if changes is not None:
            from cloud_tasks.executors.child.restore import ProcessState

            self._state = ProcessState(changes, descriptors=self._output is None)

    def _set_up_logging(self, plan: dict[str, Any], log: int | None) -> None:
        from cloud_tasks.executors.child.log_sender import set_up

        set_up(plan, log, self._running)

    def _make_output(self, folder: str | None) -> TaskOutput | None:
        if folder is None:
            return None
        from cloud_tasks.executors.child.output import TaskOutput

        return TaskOutput(folder, self._slot, self._flags.tell_log_trouble, lasting=self._reused)

    def _load(self, payload: bytes) -> Any:
        if self._main is not None and b"__main__" in payload:
            from cloud_tasks.executors.common.main_module import load_main

            load_main(*self._main)
        return pickle.loads(payload)  # noqa: S301 - made by our own parent

    def prepare_fork(self, socket: Socket) -> None:
        """Be ready for a process that is forked from this one, with a *socket* of its own."""
        self._socket = socket
        self._memory = PeakMemoryOfForked()
        self.crashes.rewind()

    def rehearse(self, times: int) -> None:
        """Run a task that does nothing, so that Python knows the way.

        What it learns (which types to expect, where attributes are) all processes have that are
        forked; else each would learn it anew, and copy the memory in which it is noted.
        """
        import socket

        ours, theirs = socket.socketpair()
        with ours, theirs:
            real = self._socket, self._function, self._output, self._memory
            self._socket = Socket(theirs.fileno(), bytes(protocol.TOKEN_BYTES), None)
            self._function, self._output, self._memory = _nothing, None, PeakMemoryOfForked()
            body = protocol.TASK_HEAD.pack(0) + pickle.dumps(("", {}))
            task = protocol.frame(bytes(protocol.TOKEN_BYTES), protocol.TASK, body)
            for _ in range(times):
                ours.send(task)
                self.serve()
                ours.recv(4096)
            self._socket, self._function, self._output, self._memory = real

    def serve(self) -> None:
        """Run tasks until the parent closes; a process for one task stops after it."""
        while True:
            frame = self._socket.read()
            if frame is None:
                return
            code = self._run(*frame)
            if code is not None:
                raise SystemExit(code)
            if not self._reused or self._worn:
                return

    def _run(self, kind: int, body: bytes) -> int | None:
        """Run one task and answer; returns an exit code if the task asked for the end."""
        (job,) = protocol.TASK_HEAD.unpack_from(body)
        if kind == protocol.AHEAD and not self._socket.take_token():
            return None  # the parent has recalled it
        if self._output is not None and not self._reused:
            # Not before: the task of the process that had the slot went on until now.
            self._output.take_over()
        self._memory.before()
        try:
            task_id, data = self._load(body[protocol.TASK_HEAD.size :])
        except BaseException as error:  # noqa: BLE001 - unpickling runs the user's classes
            reply = refused(error)
        else:
            self._running.task_id = task_id
            reply = call(
                self._function,
                task_id,
                data,
                self._worker_data,
                max_result_bytes=self._max_result_bytes,
                on_start=lambda: self._begin(job, task_id),
                only=not self._reused,
            )
            self._running.task_id = None
        peak = self._memory.after(0.0 if math.isnan(reply.run_time) else reply.run_time)
        self._answer(job, reply, peak)
        return int(reply.body) if reply.kind == protocol.EXITING else None

    def _begin(self, job: int, task_id: str) -> None:
        self.crashes.catch()
        if self._output is not None:
            self._output.begin(task_id)
        self._flags.stamp(self._slot, job, time.monotonic())

    def _answer(self, job: int, reply: Reply, peak: float) -> None:
        if self._state is None:
            flush_streams()
        if self._output is not None:
            self._output.end()
        # A process that can't be put back begins nothing more: another one takes its place.
        self._worn = self._state is not None and not (
            self._state.restore(quickly=self._is_in_a_hurry(reply)) and self._is_slim()
        )
        head = protocol.REPLY_HEAD.pack(
            job,
            reply.retry,
            reply.replaced_nan,
            self._worn,
            reply.started,
            reply.run_time,
            reply.cpu_time,
            peak,
        )
        self._socket.write(reply.kind, head + reply.body)

    def _is_in_a_hurry(self, reply: Reply) -> bool:
        """True in the midst of a batch of very short tasks, until its last one."""
        return self._socket.has_more and reply.run_time < WORTH_MEASURING

    def _is_slim(self) -> bool:
        """False if so much memory is left from earlier tasks that it would be the next one's."""
        if not self._retire_above:
            return True
        with open("/proc/self/statm", "rb", buffering=0) as file:  # noqa: PTH123
            pages = int(file.read(256).split()[1])
        return pages * os.sysconf("SC_PAGESIZE") <= self._retire_above


def _nothing(task_id: str, data: Any, worker_data: WorkerData) -> tuple[bool, None]:
    return False, None


def _note_changes() -> Changes:
    from cloud_tasks.executors.child.restore import Changes

    return Changes()


def main(
    descriptor: int, token: bytes, *, tokens: int | None = None, log: int | None = None
) -> None:
    """Serve the parent at the other end of *descriptor* until it closes.

    Args:
        descriptor: our end of the socket.
        token: proves that a frame is ours.
        tokens: the eventfd for tasks that are sent ahead, see ``wire``.
        log: where log records are sent, see ``log_sender``.

    Raises:
        SystemExit: a task called ``sys.exit``: end this process with that code.
    """
    take_own_session(descriptor, tokens, log)
    socket = Socket(descriptor, token, tokens)
    try:
        runner = boot(socket, log)
        if runner is not None:
            socket.write(protocol.READY, b"")
            runner.serve()
    except KeyboardInterrupt:
        # Sent to this process alone, between two tasks: it is replaced when next needed.
        os._exit(128 + signal.SIGINT)


def boot(socket: Socket, log: int | None) -> TaskRunner | None:
    """Do what the parent's first message says; None: it can't be done, and the parent knows why."""
    frame = socket.read()
    if frame is None:
        return None
    message: protocol.BootMessage = pickle.loads(frame[1])  # noqa: S301 - made by our own parent
    # What is Python's and ours: not the user's, which may count on being collected at the end.
    gc.freeze()
    sys.path[:] = message.sys_path
    sys.argv[:] = message.argv
    try:
        runner = TaskRunner(socket, message, log)
    except BaseException as error:  # noqa: BLE001 - the user's module may raise anything
        import traceback

        from cloud_tasks.errors import ConfigurationError

        if isinstance(error, ConfigurationError):
            socket.write(protocol.REFUSED, str(error).encode())
        else:
            socket.write(protocol.UNFIT, "".join(traceback.format_exception(error)).encode())
        return None
    return runner


def take_own_session(*descriptors: int | None) -> None:
    """Leave the terminal and the worker's group, take default signals, pass on no *descriptors*."""
    for number in descriptors:
        if number is not None:
            os.set_inheritable(number, False)
    with contextlib.suppress(OSError):  # whoever started us may have done it
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    if nowhere != 0:
        os.close(nowhere)
    for stream in (sys.stdout, sys.stderr):
        # What is buffered dies with a process that is killed.
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
