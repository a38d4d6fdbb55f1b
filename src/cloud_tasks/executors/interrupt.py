"""Interrupting Python code that runs in the main thread, by way of SIGALRM."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from cloud_tasks.executors.common.call import Interruption

#: Code that swallows the interruption, or sleeps through it, meets it again after so many seconds.
_INSISTENCE = 1.0


class Overdue(Interruption):
    """The time is over."""


class Rung(Interruption):
    """Somebody called ``ring``."""


class Alarm:
    """Goes off in the main thread when a time is over, or when another thread rings it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed = False
        self._rung = False
        self._timeless = False

    @contextlib.contextmanager
    def armed(self, seconds: float | None) -> Iterator[None]:
        """Raise :class:`Overdue` in the body after *seconds*, or :class:`Rung` on a ``ring``.

        Off the main thread, and where there is no SIGALRM, nothing is ever raised. If somebody
        steps through the body with a debugger when its time is over, it has all the time from
        then on. A timer that the program had set itself goes on afterwards.
        """
        if threading.current_thread() is not threading.main_thread() or os.name != "posix":
            yield
            return
        self._rung = self._timeless = False
        before = signal.signal(signal.SIGALRM, self._go_off)
        remaining, interval = signal.getitimer(signal.ITIMER_REAL)
        began = time.monotonic()
        try:
            if seconds is not None:
                signal.setitimer(signal.ITIMER_REAL, seconds, _INSISTENCE)
            self._armed = True
            yield
        finally:
            self._disarm()
            signal.signal(signal.SIGALRM, before)
            if remaining:
                left = max(1e-3, remaining - (time.monotonic() - began))
                signal.setitimer(signal.ITIMER_REAL, left, interval)

    def give_time(self) -> None:
        """Let the body go on for as long as it likes; called from there.

        A ring that comes later counts; one that came before does so no more.
        """
        self._rung = False
        self._timeless = True
        if self._armed:
            self._insist()

    @staticmethod
    def _insist() -> None:
        """Have the main thread look for signals again and again.

        One that comes right before a wait in C is noticed after that, and a prompt has no end.
        """
        signal.setitimer(signal.ITIMER_REAL, _INSISTENCE, _INSISTENCE)

    def _disarm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        while self._armed:
            # A ring that came just before may still go off in here.
            with contextlib.suppress(Interruption), self._lock:
                self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)  # a ring may have set it in between

    def _go_off(self, number: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if self._rung:
            raise Rung
        self._timeless = self._timeless or _debugger_is_active()
        if not self._timeless:
            raise Overdue

    def ring(self) -> bool:
        """Interrupt the body, from any thread; False if none is running."""
        with self._lock:
            if not self._armed:
                return False
            self._rung = True
            main = threading.main_thread().ident
            assert main is not None
            # Under the lock: without our handler this signal would end the process.
            signal.pthread_kill(main, signal.SIGALRM)
            self._insist()
            return True


def _debugger_is_active() -> bool:
    if sys.gettrace() is not None:
        return True
    monitoring = getattr(sys, "monitoring", None)  # 3.12 and newer
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None
