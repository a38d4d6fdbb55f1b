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
from typing import Any

from cloud_tasks.executors import wire
from cloud_tasks.executors.call import NOT_MEASURED, Reply, UserFunction, call, flush_streams
from cloud_tasks.executors.child_socket import Socket
from cloud_tasks.executors.flags import FlagPage
from cloud_tasks.worker_data import WorkerData

#: Only runs at least this long, in seconds, pay for asking the kernel about memory.
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


class _Child:
    """One booted process: the function, what it is told, and how to run a task."""

    def __init__(self, socket: Socket, boot: dict[str, Any]) -> None:
        self._socket = socket
        self._main: tuple[str, str] | None = boot["main"]
        self._slot: int = boot["slot"]
        self._max_result_bytes: int = boot["max_result_bytes"]
        self._retire_above: int = boot["retire_above"]
        self._reused: bool = boot["reused"]
        self._flags = FlagPage(boot["flags"])
        self._function: UserFunction = self._load(boot["function"])
        self._worker_data: WorkerData = self._load(boot["worker_data"])
        self._worker_data.connect(self._flags)
        _set_up_logging(boot["log_level"])
        self._memory = _PeakMemory()
        self._worn = False
        self._state = None
        if self._reused:
            from cloud_tasks.executors.restore import ProcessState

            self._state = ProcessState()

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
        self._memory.before()
        try:
            task_id, data = self._load(body[wire.TASK_HEAD.size :])
        except BaseException as error:  # noqa: BLE001 - unpickling runs the user's classes
            reply = _unreadable(error)
        else:
            reply = call(
                self._function,
                task_id,
                data,
                self._worker_data,
                max_result_bytes=self._max_result_bytes,
                on_start=lambda: self._flags.stamp(self._slot, job, time.monotonic()),
            )
        peak = self._memory.after(0.0 if math.isnan(reply.run_time) else reply.run_time)
        self._answer(job, reply, peak)
        return int(reply.body) if reply.kind == wire.EXITING else None

    def _answer(self, job: int, reply: Reply, peak: float) -> None:
        if self._state is None:
            flush_streams()
        # A process that can't be put back begins nothing more: another one takes its place.
        self._worn = self._state is not None and not (self._state.restore() and self._is_slim())
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


def main(descriptor: int, token: bytes, tokens: int | None = None) -> None:
    """Serve the parent at the other end of *descriptor* until it closes.

    Args:
        descriptor: our end of the socket.
        token: proves that a frame is ours.
        tokens: the eventfd for tasks that are sent ahead, see ``wire``.

    Raises:
        SystemExit: a task called ``sys.exit``: end this process with that code.
    """
    _take_own_session()
    os.set_inheritable(descriptor, False)
    if tokens is not None:
        os.set_inheritable(tokens, False)
    socket = Socket(descriptor, token, tokens)
    try:
        child = _boot(socket)
        if child is not None:
            child.serve()
    except KeyboardInterrupt:
        # Sent to this process alone, between two tasks: it is replaced when next needed.
        os._exit(128 + signal.SIGINT)


def _boot(socket: Socket) -> _Child | None:
    frame = socket.read()
    if frame is None:
        return None
    boot = pickle.loads(frame[1])  # noqa: S301 - made by our own parent
    sys.path[:] = boot["sys_path"]
    sys.argv[:] = boot["argv"]
    try:
        child = _Child(socket, boot)
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


def _set_up_logging(level: int | None) -> None:
    if level is None:
        return
    import logging

    from cloud_tasks.executors.logs import add_root_handler

    if not logging.getLogger().handlers:
        add_root_handler(level)
