"""What runs in a child process: boot once, then one task after the other.

Started by :mod:`~cloud_tasks.executors.loky` or :mod:`~cloud_tasks.executors.spawn`; talks to
its parent over one private socket in the words of :mod:`~cloud_tasks.executors.wire`. It ends
when the socket closes. It imports little: every fresh process pays for it.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cloud_tasks.executors import wire
from cloud_tasks.executors.call import NOT_MEASURED, Reply, UserFunction, call, flush_streams
from cloud_tasks.executors.child_socket import Socket
from cloud_tasks.executors.flags import FlagPage
from cloud_tasks.worker_data import WorkerData

if TYPE_CHECKING:
    from cloud_tasks.executors.output import TaskOutput

#: Only runs at least this long, in seconds, pay for asking the kernel about everything.
_WORTH_MEASURING = 0.005


class _PeakMemory:
    """Peak memory of single tasks in one process.

    The kernel's high-water mark never falls by itself, so it is reset before a task, but only
    while tasks are long enough to bear the two system calls.
    """

    def __init__(self) -> None:
        self._worth_it = True
        self._clean = False

    def before(self) -> None:
        if self._worth_it:
            try:
                with open("/proc/self/clear_refs", "wb", buffering=0) as file:  # noqa: PTH123
                    file.write(b"5")
                self._clean = True
            except OSError:
                self._clean = False

    def after(self, run_time: float) -> float:
        """Return the peak in MiB, NaN where it is not this task's own."""
        clean, self._clean = self._clean, False
        self._worth_it = run_time >= _WORTH_MEASURING
        if not clean:
            return NOT_MEASURED
        try:
            with open("/proc/self/status", "rb", buffering=0) as file:  # noqa: PTH123
                text = file.read(4096)
            return int(text.partition(b"VmHWM:")[2].split(None, 1)[0]) / 1024
        except (OSError, ValueError, IndexError):
            return NOT_MEASURED


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


class _Child:
    """One booted process: the function, what it is told, and how to run a task."""

    def __init__(self, socket: Socket, boot: dict[str, Any], log: int | None) -> None:
        self._socket = socket
        self._main: tuple[str, str] | None = boot["main"]
        self._slot: int = boot["slot"]
        self._running = RunningTask(self._slot)
        self._max_result_bytes: int = boot["max_result_bytes"]
        self._retire_above: int = boot["retire_above"]
        self._reused: bool = boot["reused"]
        self._flags = FlagPage(boot["flags"])
        self._catch_crashes = self._flags.catch_crashes(self._slot)
        self._output = self._make_output(boot["task_logs"])
        self._function: UserFunction = self._load(boot["function"])
        self._worker_data: WorkerData = self._load(boot["worker_data"])
        self._worker_data.connect(self._flags)
        if boot["logging"] is not None:
            from cloud_tasks.executors.log_sender import set_up

            set_up(boot["logging"], log, self._running)
        self._memory = _PeakMemory()
        self._worn = False
        self._state = None
        if self._output is not None and self._reused:
            self._output.take_over()
        if self._reused:
            from cloud_tasks.executors.restore import ProcessState

            self._state = ProcessState(descriptors=self._output is None)

    def _make_output(self, folder: str | None) -> TaskOutput | None:
        if folder is None:
            return None
        from cloud_tasks.executors.output import TaskOutput

        return TaskOutput(folder, self._slot, self._flags.tell_log_trouble, lasting=self._reused)

    def _load(self, payload: bytes) -> Any:
        if self._main is not None and b"__main__" in payload:
            from cloud_tasks.executors.main_module import load_main

            load_main(*self._main)
        return pickle.loads(payload)  # noqa: S301 - made by our own parent

    def serve(self) -> None:
        """Run tasks until the parent closes; a process for one task stops after it."""
        while True:
            frame = self._socket.read()
            if frame is None:
                return
            code = self._run(frame[1])
            if code is not None:
                raise SystemExit(code)
            if not self._reused or self._worn:
                return

    def _run(self, body: bytes) -> int | None:
        """Run one task and answer; returns an exit code if the task asked for the end."""
        job, ahead = wire.TASK_HEAD.unpack_from(body)
        if ahead and not self._socket.take_token():
            return None  # the parent has recalled it
        if self._output is not None and not self._reused:
            # Not before: the task of the process that had the slot went on until now.
            self._output.take_over()
        self._memory.before()
        try:
            task_id, data = self._load(body[wire.TASK_HEAD.size :])
        except BaseException as error:  # noqa: BLE001 - unpickling runs the user's classes
            reply = _unreadable(error)
        else:
            self._running.task_id = task_id
            reply = call(
                self._function,
                task_id,
                data,
                self._worker_data,
                max_result_bytes=self._max_result_bytes,
                on_start=lambda: self._begin(job, task_id),
            )
            self._running.task_id = None
        peak = self._memory.after(0.0 if math.isnan(reply.run_time) else reply.run_time)
        self._answer(job, reply, peak)
        return int(reply.body) if reply.kind == wire.EXITING else None

    def _begin(self, job: int, task_id: str) -> None:
        self._catch_crashes()
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
        head = wire.REPLY_HEAD.pack(
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
        return self._socket.has_more and reply.run_time < _WORTH_MEASURING

    def _is_slim(self) -> bool:
        """False if so much memory is left from earlier tasks that it would be the next one's."""
        if not self._retire_above:
            return True
        with open("/proc/self/statm", "rb", buffering=0) as file:  # noqa: PTH123
            pages = int(file.read(256).split()[1])
        return pages * os.sysconf("SC_PAGESIZE") <= self._retire_above


def _unreadable(error: BaseException) -> Reply:
    from cloud_tasks.executors.call import describe

    reply = Reply()
    reply.kind = wire.RAISED
    reply.body = describe(error)
    return reply


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
    _take_own_session()
    for number in (descriptor, tokens, log):
        if number is not None:
            os.set_inheritable(number, False)
    socket = Socket(descriptor, token, tokens)
    try:
        child = _boot(socket, log)
        if child is not None:
            child.serve()
    except KeyboardInterrupt:
        # Sent to this process alone, between two tasks: it is replaced when next needed.
        os._exit(128 + signal.SIGINT)


def _boot(socket: Socket, log: int | None) -> _Child | None:
    frame = socket.read()
    if frame is None:
        return None
    boot = pickle.loads(frame[1])  # noqa: S301 - made by our own parent
    sys.path[:] = boot["sys_path"]
    sys.argv[:] = boot["argv"]
    try:
        child = _Child(socket, boot, log)
    except BaseException as error:  # noqa: BLE001 - the user's module may raise anything
        import traceback

        from cloud_tasks.errors import ConfigurationError

        if isinstance(error, ConfigurationError):
            socket.write(wire.REFUSED, str(error).encode())
        else:
            socket.write(wire.UNFIT, "".join(traceback.format_exception(error)).encode())
        return None
    socket.write(wire.READY, b"")
    return child


def _take_own_session() -> None:
    """Leave the terminal's and the worker's process group, and take the default signals."""
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
