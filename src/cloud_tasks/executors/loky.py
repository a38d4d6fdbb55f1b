"""Run tasks in loky's processes, reused from task to task: the default executor.

A shared ``loky.ProcessPoolExecutor`` fails every running task when one of them crashes, and does
not say which. So the processes are loky's (its start method, its independence of the main program,
its pickling by value), one a slot, and the pool around them is ours.

``child.loky_main`` is imported because multiprocessing needs the function that the process calls.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from cloud_tasks.executors.child import loky_main
from cloud_tasks.executors.pool.pool import SlotPool
from cloud_tasks.executors.pool.state import Descriptors, Handle

#: Descriptors that starting a process takes for a moment: two pipes, and two more.
_STARTING = 6


class LokyExecutor(SlotPool):
    """Child processes that are reused; for throughput."""

    reused: ClassVar[bool] = True
    #: Its socket, its death watch, its permits, loky's sentinel.
    descriptors_per_slot: ClassVar[int] = 4

    def _prepare(self) -> None:
        import loky  # noqa: F401 - it registers its start method with multiprocessing
        from loky.backend import get_context

        self._context: Any = get_context("loky")

    def _launch(
        self, end: socket.socket, cookie: bytes, inherited: Descriptors, environment: dict[str, str]
    ) -> Handle:
        _mend_streams()
        with contextlib.ExitStack() as opened:
            # multiprocessing can pass a Connection on to a new process.
            connection = opened.enter_context(Connection(end.detach()))
            others = {
                name: opened.enter_context(Connection(os.dup(number)))
                for name, number in asdict(inherited).items()
                if number is not None
            }
            started = self._context.Process(
                target=loky_main.main,
                args=(connection, cookie, others),
                env=environment,
                name="cloud_tasks-child",
            )
            _check_descriptors()
            try:
                started.start()
            except UnboundLocalError as error:
                # loky raises this when it cleans up after a failure.
                raise OSError(f"loky could not start a process: {error.__context__}") from error
        return _LokyHandle(started)


def _check_descriptors() -> None:
    """Check that there are enough descriptors, because loky leaks some if it fails half-way.

    Raises:
        OSError: there are not enough.
    """
    with contextlib.ExitStack() as opened:
        for _ in range(_STARTING):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def _mend_streams() -> None:
    """Redirect a standard stream that is closed, or can't be written, to ``os.devnull``.

    loky flushes both before it starts a process, and starts none if that fails: the run would end
    because the reader of a pipe has ended.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before Python started
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - never closed
            continue
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class _LokyHandle:
    """The ``Handle`` of a ``LokyProcess``, whose ``kill`` and ``close`` do not work."""

    def __init__(self, started: Any) -> None:
        self._process = started
        self.pid: int = started.pid

    def exit_code(self) -> int | None:
        """Reap the process if it has ended; None: it runs."""
        code: int | None = self._process.exitcode
        return code
