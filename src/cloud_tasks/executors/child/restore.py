"""Restore, after a task, what it changed of the process: in a reused child, and in inline runs.

    signal handlers, mask, alarm  ─┐ only after a call of a function that changes them,
    environment                   ─┘ if a ChangeTracker was given
    working folder, umask, sys.stdin/stdout/stderr, the root logger: compared after every task
    descriptors 1 and 2: the same, but left out amid a batch of very short tasks

Module globals and the contents of mutable objects stay: keeping them is the point of reuse.

executors/inline.py imports this module, though it is the child's: there the worker's process is
that of the task.
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

from cloud_tasks.executors.common.worker_files import file_identity, identity_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The signals that Python programs set handlers for.
_SIGNALS = tuple(
    getattr(signal, name)
    for name in (
        "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGPIPE",
        "SIGCHLD",
    )
    if hasattr(signal, name)
)  # fmt: skip
#: The function itself, not tracked: to read the mask is no change.
_sigmask = signal.pthread_sigmask


class CallTracker:
    """Replace functions of modules by wrappers that record that one of them was called."""

    def __init__(self, *functions: tuple[ModuleType, str]) -> None:
        self._called = False
        for module, name in functions:
            function = getattr(module, name, None)
            if function is not None:  # not on every platform
                setattr(module, name, self._tracked(function))

    def pop(self) -> bool:
        """Return whether one of the functions was called since the last ``pop``."""
        # The flag is reset before anything is compared, so that a call by another thread in the
        # meantime counts for the next pop.
        called, self._called = self._called, False
        return called

    def _tracked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def tracked(*args: Any, **keywords: Any) -> Any:
            # Before the call, which an alarm may interrupt.
            self._called = True
            return function(*args, **keywords)

        return tracked


class ChangeTracker:
    """Record changes of this process from now on, so that ``ProcessState`` need not look for them.

    Made before the user's module is imported, which may bind these functions to names of its own.

    Wrapping functions of ``signal`` and ``os`` may surprise the user. It is done for speed alone:
    a no-op task takes 36 us of CPU in its process, 66 us if signals and environment are compared
    after each task, 57 us if the environment alone is (loky, Python 3.11).
    """

    def __init__(self) -> None:
        self.signals = CallTracker(
            (signal, "signal"), (signal, "setitimer"), (signal, "alarm"),
            (signal, "pthread_sigmask"),
        )  # fmt: skip
        # Changes of os.environ call these, too.
        self.environment = CallTracker((os, "putenv"), (os, "unsetenv"))


class ProcessState:
    """The state of this process at one moment, to be restored later.

    Args:
        changes: tells whether signals and environment need to be looked at; None: always.
        descriptors: restore those of stdout and stderr as well; takes two more descriptors.
    """

    def __init__(self, changes: ChangeTracker | None = None, *, descriptors: bool = False) -> None:
        self._saved = [_SavedDescriptor(n) for n in (1, 2) if descriptors and identity_or_none(n)]
        self._cwd = _cwd()
        self._environ = dict(os.environb)
        self._umask = _umask()
        self._handlers = [signal.getsignal(number) for number in _SIGNALS]
        self._has_timer = bool(signal.getitimer(signal.ITIMER_REAL)[0])
        self._mask = _sigmask(signal.SIG_BLOCK, ())
        root = logging.getLogger()
        self._log_level = root.level
        self._log_handlers = list(root.handlers)
        self._log_filters = list(root.filters)
        self._log_disabled = root.manager.disable
        # A configuration that disables every logger it does not name disables this one as well.
        self._log_witness = logging.getLogger(f"{__name__}.witness")
        self._log_witness.disabled = False
        self._disabled_loggers = {logger for logger in _loggers() if logger.disabled}
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._changes = changes
        if changes is not None:
            changes.signals.pop()
            changes.environment.pop()

    def restore(self, *, quickly: bool = False) -> bool:
        """Restore everything; False if that failed, so that the process must be replaced.

        *quickly*: leave out the descriptors of stdout and stderr, whose system calls take half as
        long as all the rest.
        """
        try:
            self._restore_signals()
            self._restore_files()
            if not quickly:
                for saved in self._saved:
                    saved.restore()
            self._restore_environment()
            self._restore_logging()
        except Exception:  # noqa: BLE001 - whatever it was, this process is not as it was
            return False
        return True

    def _restore_signals(self) -> None:
        if self._changes is not None and not self._changes.signals.pop():
            return
        # A timer that a task left running would interrupt the next one.
        if not self._has_timer and signal.getitimer(signal.ITIMER_REAL)[0]:
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

    def _restore_environment(self) -> None:
        if self._changes is not None and not self._changes.environment.pop():
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
                logger.disabled = logger in self._disabled_loggers


class _SavedDescriptor:
    """A descriptor that tasks print to, and a copy of it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._identity = file_identity(number)
        self._copy = os.dup(number)

    def restore(self) -> None:
        """Duplicate the copy onto the descriptor if that is closed, or another file now.

        Raises:
            OSError: the copy is closed, or another file, as well.
        """
        if identity_or_none(self._number) == self._identity:
            return
        if identity_or_none(self._copy) != self._identity:
            raise OSError(errno.EBADF, "a task has replaced the copy of a standard descriptor")
        os.dup2(self._copy, self._number)


def _loggers() -> list[logging.Logger]:
    known = list(logging.getLogger().manager.loggerDict.values())
    return [logger for logger in known if isinstance(logger, logging.Logger)]


def _cwd() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - called after every task, and Path is slower
    except OSError:  # the folder has been removed
        return None


def _umask() -> int:
    # No call only reads it. No other thread of ours makes files in between.
    now = os.umask(0o77)
    os.umask(now)
    return now
