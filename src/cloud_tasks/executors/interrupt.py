"""Interrupt Python code in the main thread by SIGALRM, at a deadline or from another thread.

    armed(seconds) ── SIGALRM after *seconds*, then every second ──► DeadlineExceeded in the body
    interrupt()    ── SIGALRM now, then every second ──────────────► Interrupted in the body

For the inline executor only. The signal is repeated for code that catches the exception, and for a
signal that arrives right before a blocking call in C, which is noticed only after that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from cloud_tasks.executors.common.exception_text import Interruption

#: Seconds from one signal to the next.
_REPEAT = 1.0


class DeadlineExceeded(Interruption):
    """The body has used up its time."""


class Interrupted(Interruption):
    """Another thread has called ``interrupt``."""


class Alarm:
    """Interrupt the body of a ``with`` statement in the main thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed = False
        self._interrupted = False
        self._unlimited = False

    @contextlib.contextmanager
    def armed(self, seconds: float | None) -> Iterator[None]:
        """Raise :class:`DeadlineExceeded` in the body after *seconds*, or :class:`Interrupted`.

        Off the main thread, and where there is no SIGALRM, nothing is ever raised. A body that is
        being stepped through with a debugger at its deadline has no time limit from then on. A
        timer that the program has set itself goes on afterwards.
        """
        if threading.current_thread() is not threading.main_thread() or os.name != "posix":
            yield
            return
        self._interrupted = self._unlimited = False
        before = signal.signal(signal.SIGALRM, self._on_alarm)
        remaining, interval = signal.getitimer(signal.ITIMER_REAL)
        began = time.monotonic()
        try:
            if seconds is not None:
                signal.setitimer(signal.ITIMER_REAL, seconds, _REPEAT)
            self._armed = True
            yield
        finally:
            self._disarm()
            signal.signal(signal.SIGALRM, before)
            if remaining:
                left = max(1e-3, remaining - (time.monotonic() - began))
                signal.setitimer(signal.ITIMER_REAL, left, interval)

    def lift_limit(self) -> None:
        """Let the body go on without a time limit; called from the body.

        Forgets an interruption that came before; a later one counts.
        """
        self._interrupted = False
        self._unlimited = True
        if self._armed:
            # An interruption may come right before a prompt, which reads for ever.
            self._repeat_signal()

    def interrupt(self) -> bool:
        """Interrupt the body, from any thread; False if none is running."""
        with self._lock:
            if not self._armed:
                return False
            self._interrupted = True
            main = threading.main_thread().ident
            assert main is not None
            # Under the lock: without our handler this signal would end the process.
            signal.pthread_kill(main, signal.SIGALRM)
            self._repeat_signal()
            return True

    @staticmethod
    def _repeat_signal() -> None:
        signal.setitimer(signal.ITIMER_REAL, _REPEAT, _REPEAT)

    def _disarm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        while self._armed:
            # The signal of an interrupt() right before may still arrive in here.
            with contextlib.suppress(Interruption), self._lock:
                self._armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)  # an interrupt() may have set it in between

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if self._interrupted:
            raise Interrupted
        self._unlimited = self._unlimited or _debugger_is_active()
        if not self._unlimited:
            raise DeadlineExceeded


def _debugger_is_active() -> bool:
    if sys.gettrace() is not None:
        return True
    monitoring = getattr(sys, "monitoring", None)  # 3.12 and newer
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None
