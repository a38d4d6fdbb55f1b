"""The default executor: loky's processes, reused from task to task.

A shared ``loky.ProcessPoolExecutor`` fails every task in flight when one of them crashes, and
nothing says whose fault it was. So the processes are loky's (its start method, its independence
of the main program, its pickling by value), one a slot, and the pool around them is ours.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from multiprocessing.connection import Connection
from typing import Any, ClassVar

from cloud_tasks.executors.child import loky_main
from cloud_tasks.executors.pool.pool import SlotPool
from cloud_tasks.executors.pool.state import Descriptors, Handle

#: Descriptors that starting a process takes for a moment: two pipes, and one to spare.
_STARTING = 5


class LokyExecutor(SlotPool):
    """Child processes that are reused; for throughput."""

    reused: ClassVar[bool] = True
    #: Its socket, its death watch, its tokens, loky's sentinel.
    descriptors_per_slot: ClassVar[int] = 4

    def _prepare(self) -> None:
        import loky  # noqa: F401 - it registers its start method with multiprocessing
        from loky.backend import get_context

        self._context: Any = get_context("loky")

    def _launch(
        self,
        end: socket.socket,
        token: bytes,
        inherited: Descriptors,
        environment: dict[str, str],
    ) -> Handle:
        _mend_streams()
        with contextlib.ExitStack() as opened:
            # A Connection is what multiprocessing can take along to a new process.
            connection = opened.enter_context(Connection(end.detach()))
            others = [
                None if number is None else opened.enter_context(Connection(os.dup(number)))
                for number in (inherited.tokens, inherited.log)
            ]
            started = self._context.Process(
                target=loky_main.main,
                args=(connection, token, *others),
                env=environment,
                name="cloud_tasks-child",
            )
            _check_room()
            try:
                started.start()
            except UnboundLocalError as error:
                # What loky makes of a failure, in its own cleaning up.
                raise OSError(f"loky could not start a process: {error.__context__}") from error
        return _LokyHandle(started)


def _check_room() -> None:
    """Find out whether there are enough descriptors: loky loses some of those that it got.

    Raises:
        OSError: there are not.
    """
    with contextlib.ExitStack() as opened:
        for _ in range(_STARTING):
            opened.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def _mend_streams() -> None:
    """Let a standard stream that is closed, or can't be written, lead nowhere.

    loky flushes both before it starts a process, and starts none if that fails: a reader that
    has gone away would end the run.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before Python started
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 - for good
            continue
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class _LokyHandle:
    """A ``LokyProcess``. Its ``kill`` and ``close`` do not work; its pid and exit code do."""

    def __init__(self, started: Any) -> None:
        self._process = started
        self.pid: int = started.pid

    def exit_code(self) -> int | None:
        """Reap it if it has ended."""
        code: int | None = self._process.exitcode
        return code
