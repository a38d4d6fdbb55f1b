"""Putting back, in a reused process, what a task changed of the process itself.

Module globals and the insides of mutable objects stay, which is the point of reuse.
"""

from __future__ import annotations

# The functions of `signal` turn every answer into an enum, which costs more than the question.
import _signal  # type: ignore[import-not-found]
import errno
import logging
import os
import signal
import sys
from typing import Any

from cloud_tasks.executors.child_socket import identity

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
    """The state of this process at one moment, to be put back later.

    Args:
        descriptors: those of the standard streams count, too; takes two descriptors for that.
    """

    def __init__(self, *, descriptors: bool = False) -> None:
        self._kept = [_Kept(number) for number in (1, 2) if descriptors and _is_open(number)]
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
        # A configuration that disables all loggers but its own disables this one, too.
        self._log_witness = logging.getLogger(f"{__name__}.witness")
        self._log_witness.disabled = False
        self._log_silent = {logger for logger in _loggers() if logger.disabled}
        self._streams = (sys.stdin, sys.stdout, sys.stderr)

    def restore(self, *, quickly: bool = False) -> bool:
        """Put everything back; False if that failed, and the process must be replaced.

        Args:
            quickly: leave out the descriptors of the standard streams, which cost the kernel as
                much as half of the rest.
        """
        try:
            self._restore_signals()
            self._restore_files()
            if not quickly:
                self._restore_descriptors()
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

    def _restore_descriptors(self) -> None:
        for kept in self._kept:
            kept.restore()

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
        if self._log_witness.disabled:
            for logger in _loggers():
                logger.disabled = logger in self._log_silent


class _Kept:
    """A descriptor that tasks print to, and a copy of it."""

    __slots__ = ("_copy", "_identity", "_number")

    def __init__(self, number: int) -> None:
        self._number = number
        self._identity = identity(number)
        self._copy = os.dup(number)

    def restore(self) -> None:
        """Put the copy into its place, if that is another file now.

        Raises:
            OSError: the copy is gone, too.
        """
        try:
            if identity(self._number) == self._identity:
                return
        except OSError:  # it is closed
            pass
        if identity(self._copy) != self._identity:
            raise OSError(errno.EBADF, "a task has put something else there")
        os.dup2(self._copy, self._number)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _loggers() -> list[logging.Logger]:
    known = list(logging.getLogger().manager.loggerDict.values())
    return [logger for logger in known if isinstance(logger, logging.Logger)]


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
