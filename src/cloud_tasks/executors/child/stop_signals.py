"""Outlive a SIGTERM or SIGHUP that was sent to every process of the machine or job.

    SIGTERM ─► no task runs ────────────────────────────────► nothing happens
           └─► a task runs ─► the worker is asked to stop, too ─► it is told, the task goes on
                          └─► it is not within STOP_PATIENCE ───► die of the signal

systemd, Slurm and a shutdown signal the worker and its children alike, in any order, and the worker
decides what becomes of the tasks. A signal for one child alone ends it, as it would any process.

Handlers, because exec resets them: programs that a task starts die of SIGTERM. Ignored signals stay
ignored there. A process that a task forks, such as one of multiprocessing, has the default again.
In the middle of long C code the handler runs when that returns.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

# Bound now: a task may replace them in their modules, and changes are tracked there.
from signal import pthread_sigmask
from signal import signal as set_handler
from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

#: Seconds from one look at the worker's flag to the next.
_LOOK_PERIOD = 0.01


class StopSignalHandler:
    """The handler of SIGTERM and SIGHUP in a process of ours."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._on_signal: Callable[[int], None] | None = None
        self._kept_in_fork = False
        self._masks: list[set[int]] = []

    def install(self) -> None:
        """Handle SIGTERM, and SIGHUP unless it is ignored, as under ``nohup``."""
        self._numbers = [signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self._numbers.append(signal.SIGHUP)
        for number in self._numbers:
            set_handler(number, self._handle)
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork,
            after_in_child=self._after_fork_in_child,
        )

    def connect(self, on_signal: Callable[[int], None]) -> None:
        """Have *on_signal* called with the number of each signal, in the main thread."""
        self._on_signal = on_signal

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._on_signal is not None:
            self._on_signal(number)

    def fork(self) -> int:
        """Fork another process of ours, which keeps the handlers; else as ``os.fork``.

        Raises:
            OSError: no process is to be had.
        """
        self._kept_in_fork = True
        try:
            return os.fork()
        finally:
            self._kept_in_fork = False

    def _before_fork(self) -> None:
        # Python forgets a signal that reaches the new process while it still has the handler:
        # terminate() right after start() would be lost.
        if not self._kept_in_fork:
            self._masks.append(pthread_sigmask(signal.SIG_BLOCK, self._numbers))

    def _after_fork(self) -> None:
        if not self._kept_in_fork:
            pthread_sigmask(signal.SIG_SETMASK, self._masks.pop())

    def _after_fork_in_child(self) -> None:
        if self._kept_in_fork:
            return
        for number in self._numbers:
            # A handler of the task's own is inherited, as it would be anywhere.
            if signal.getsignal(number) == self._handle:
                set_handler(number, signal.SIG_DFL)
        self._after_fork()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for *condition* at most *seconds*; return whether it holds."""
    deadline = monotonic() + seconds
    while not condition():
        if monotonic() >= deadline:
            return False
        sleep(_LOOK_PERIOD)
    return True


def die_of(number: int) -> None:
    """End this process by signal *number*, as if it had no handler."""
    set_handler(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


#: The one of this process.
handler = StopSignalHandler()
