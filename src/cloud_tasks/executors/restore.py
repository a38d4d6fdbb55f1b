"""Putting back, in a reused process, what a task changed of the process itself.

Module globals and the insides of mutable objects stay, which is the point of reuse.
"""

from __future__ import annotations

# The functions of `signal` turn every answer into an enum, which costs more than the question.
import _signal  # type: ignore[import-not-found]
import logging
import os
import signal
import sys
from typing import Any

_BLOCK = int(signal.SIG_BLOCK)
#: The signals that Python programs set handlers for.
_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in (
        "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE",
        "SIGCHLD",
    )
    if hasattr(signal, name)
)  # fmt: skip


class ProcessState:
    """The state of this process at one moment, to be put back later."""

    def __init__(self) -> None:
        self._cwd = _cwd()
        self._environ = dict(_raw_environ())
        self._umask = _umask()
        self._handlers = [_signal.getsignal(number) for number in _SIGNALS]
        self._timed = bool(signal.getitimer(signal.ITIMER_REAL)[0])
        self._mask = _signal.pthread_sigmask(_BLOCK, ())
        root = logging.getLogger()
        self._log_level = root.level
        self._log_handlers = list(root.handlers)
        self._log_filters = list(root.filters)
        self._log_disabled = root.manager.disable
        self._streams = (sys.stdin, sys.stdout, sys.stderr)

    def restore(self) -> bool:
        """Put everything back; False if that failed, and the process must be replaced."""
        try:
            self._restore_signals()
            self._restore_files()
            self._restore_environment()
            self._restore_logging()
        except Exception:  # noqa: BLE001 - whatever it was, this process is not as it was
            return False
        return True

    def _restore_signals(self) -> None:
        # An alarm that a task left ticking would go off in the next one.
        if not self._timed and signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if _signal.getsignal(number) != handler and handler is not None:
                signal.signal(number, handler)
        if _signal.pthread_sigmask(_BLOCK, ()) != self._mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _restore_files(self) -> None:
        if self._cwd is not None and _cwd() != self._cwd:
            os.chdir(self._cwd)
        if _umask() != self._umask:
            os.umask(self._umask)
        if (sys.stdin, sys.stdout, sys.stderr) != self._streams:
            sys.stdin, sys.stdout, sys.stderr = self._streams
        sys.stdout.flush()
        sys.stderr.flush()

    def _restore_environment(self) -> None:
        if _raw_environ() == self._environ:
            return
        now = os.environb
        for name in set(now) - set(self._environ):
            del now[name]
        for name, value in self._environ.items():
            if now.get(name) != value:
                now[name] = value

    def _restore_logging(self) -> None:
        root = logging.getLogger()
        if root.level != self._log_level:
            root.setLevel(self._log_level)
        if root.handlers != self._log_handlers:
            root.handlers[:] = self._log_handlers
        if root.filters != self._log_filters:
            root.filters[:] = self._log_filters
        if root.manager.disable != self._log_disabled:
            logging.disable(self._log_disabled)


def _cwd() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - called after every task, and Path is slower
    except OSError:  # somebody removed the folder
        return None


def _umask() -> int:
    # There is no call that only asks. No other thread of ours makes files.
    now = os.umask(0o77)
    os.umask(now)
    return now


def _raw_environ() -> dict[bytes, bytes]:
    # Comparing through os.environ decodes every value: 30 us a task instead of 1.
    data: Any = getattr(os.environb, "_data", None)
    return data if isinstance(data, dict) else dict(os.environb)
