"""The default executor: loky's processes, reused from task to task.

A shared ``loky.ProcessPoolExecutor`` fails every task in flight when one of them crashes, and
nothing says whose fault it was. So the processes are loky's (its start method, its independence
of the main program, its pickling by value), one a slot, and the pool around them is ours.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from cloud_tasks.executors import child
from cloud_tasks.executors.slot import Handle
from cloud_tasks.executors.slots import SlotPool


class LokyExecutor(SlotPool):
    """Child processes that are reused; for throughput."""

    reused: ClassVar[bool] = True
    #: Its socket, its death watch, its tokens, loky's sentinel.
    descriptors_per_child: ClassVar[int] = 4

    def _prepare(self) -> None:
        import loky  # noqa: F401 - it registers its start method with multiprocessing
        from loky.backend import get_context

        self._context: Any = get_context("loky")

    def _launch(
        self, end: socket.socket, token: bytes, tokens: int | None, environment: dict[str, str]
    ) -> Handle:
        _mend_streams()
        # A Connection is what multiprocessing can take along to a new process.
        connection = Connection(end.detach())
        counter = None if tokens is None else Connection(os.dup(tokens))
        try:
            started = self._context.Process(
                target=_main,
                args=(connection, token, counter),
                env=environment,
                name="cloud_tasks-child",
            )
            started.start()
        finally:
            connection.close()
            if counter is not None:
                counter.close()
        return _LokyHandle(started)


def _mend_streams() -> None:
    """Let a standard stream that can't be written lead nowhere.

    loky flushes both before it starts a process, and starts none if that fails: a reader that
    has gone away would end the run.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _main(connection: Connection, token: bytes, counter: Connection | None) -> None:
    # loky leaves its own start method as the default, which processes that a task starts through
    # multiprocessing would inherit by name, without knowing it, and die of.
    multiprocessing.set_start_method(None, force=True)
    child.main(connection.fileno(), token, None if counter is None else counter.fileno())


class _LokyHandle:
    """A ``LokyProcess``. Its ``kill`` and ``close`` do not work; its pid and exit code do."""

    def __init__(self, started: Any) -> None:
        self._process = started
        self.pid: int = started.pid

    def exit_code(self) -> int | None:
        """Reap it if it has ended."""
        code: int | None = self._process.exitcode
        return code
