"""Putting back, in a reused process, what a task changed of the process itself.

Module globals and the insides of mutable objects stay, which is the point of reuse.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType

from cloud_tasks.executors.child.socket_end import identity

#: The signals that Python programs set handlers for.
_SIGNALS = tuple(
    getattr(signal, name)
    for name in (
        "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE",
        "SIGCHLD",
    )
    if hasattr(signal, name)
)  # fmt: skip
#: Itself: to ask it for the mask is no change.
_sigmask = signal.pthread_sigmask
#: All that changes how signals are taken.
_SETS_SIGNALS = ("signal", "setitimer", "alarm", "pthread_sigmask")
#: All that changes the environment: ``os.environ`` comes here, too.
_SETS_ENVIRONMENT = ("putenv", "unsetenv")


class Changes:
    """Notes what is changed of this process, from now on.

    Made before the user's module is imported, which may take functions by their names. To ask
    Python for all of it after each task would cost more than a task that does nothing.
    """

    def __init__(self) -> None:
        self.signals = Noted(*((signal, name) for name in _SETS_SIGNALS))
        self.environment = Noted(*((os, name) for name in _SETS_ENVIRONMENT))


class ProcessState:
    """The state of this process at one moment, to be put back later.

    Args:
        changes: tells what need not be looked at; None: all is.
        descriptors: those of the standard streams count, too; takes two descriptors for that.
    """

    def __init__(self, changes: Changes | None = None, *, descriptors: bool = False) -> None:
        self._kept = [_Kept(number) for number in (1, 2) if descriptors and _is_open(number)]
        self._cwd = _cwd()
        self._environ = dict(os.environb)
        self._umask = _umask()
        self._handlers = [signal.getsignal(number) for number in _SIGNALS]
        self._timed = bool(signal.getitimer(signal.ITIMER_REAL)[0])
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
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
        self._changes = changes
        if changes is not None:
            changes.signals.taken()
            changes.environment.taken()

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
        if self._changes is not None and not self._changes.signals.taken():
            return
        # An alarm that a task left ticking would go off in the next one.
        if not self._timed and signal.getitimer(signal.ITIMER_REAL)[0]:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in zip(_SIGNALS, self._handlers, strict=True):
            if signal.getsignal(number) != handler and handler is not None:
                signal.signal(number, handler)
        if _sigmask(signal.SIG_BLOCK, ()) != self._mask:
            _sigmask(signal.SIG_SETMASK, self._mask)

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
        if self._changes is not None and not self._changes.environment.taken():
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


# MERGED: Noting that somebody has called a function, for much less than looking at what it
# MERGED: changed.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Noted:
    """Functions of modules that from now on note each call, and do what they did."""

    def __init__(self, *functions: tuple[ModuleType, str]) -> None:
        self._called = False
        for module, name in functions:
            function = getattr(module, name, None)
            if function is not None:  # not on every platform
                setattr(module, name, self._noting(function))

    def taken(self) -> bool:
        """Tell whether one of them was called since this was last asked."""
        # In this order: what a thread does meanwhile is told the next time.
        called, self._called = self._called, False
        return called

    def _noting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*args: Any, **keywords: Any) -> Any:
            # First: an alarm may end the call.
            self._called = True
            return function(*args, **keywords)

        return noting
