"""Restore, after a task, what it changed of the process: in a reused child, and in inline runs.

    environment, signal handlers,        ─┐ only after a call of a function that changes them,
    the event loop                       ─┘ if a ChangeTracker was given
    working folder, umask, descriptors,  ─┐ after such a call, and after each task that is not one
    signal mask, both tables of states   ─┘ of a batch of very short ones
    streams, root logger, decimal context ─ after every task

What can't be put back is returned in words, and a child is replaced for it. Module globals and the
contents of mutable objects stay: keeping them is the point of reuse.

executors/inline.py imports this module, though it is the child's: there the worker's process is
that of the task. What a debugger sets is left alone there.
"""

from __future__ import annotations

import errno
import faulthandler
import functools
import gc
import io
import locale
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from types import ModuleType

from cloud_tasks.executors.child.import_hook import on_import
from cloud_tasks.executors.child.states import BLOCKING, DEBUGGERS, INTERPRETER, KERNEL
from cloud_tasks.executors.common.worker_files import file_identity, identity_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The functions themselves, not tracked: what is done here is no change by a task.
_signal, _sigmask, _set_wakeup_fd = signal.signal, signal.pthread_sigmask, signal.set_wakeup_fd
_dup2, _chdir, _set_umask = os.dup2, os.chdir, os.umask
#: Signals that can have a handler.
_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
#: The signals up to this one are compared where calls are not tracked: not the realtime signals,
#: which take twice as long as all the others.
_LAST_COMPARED = 31
#: Those that faulthandler handles.
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL})


class CallTracker:
    """Replace functions of modules and classes by wrappers that record calls.

    Attributes:
        calls: the first arguments of calls since the last ``pop``; -1 where it was no integer.
    """

    def __init__(self, *functions: tuple[ModuleType | type, str]) -> None:
        self.calls: set[int] = set()
        self.track(*functions)

    def track(self, *functions: tuple[ModuleType | type, str]) -> None:
        """Track more functions, those that there are on this platform."""
        for owner, name in functions:
            function = getattr(owner, name, None)
            if function is not None:
                setattr(owner, name, self._tracked(function))

    def pop(self) -> set[int]:
        """Return ``calls``, and begin anew."""
        if not self.calls:
            return self.calls
        # The set is replaced before anything is compared, so that a call by another thread in the
        # meantime counts for the next pop.
        calls, self.calls = self.calls, set()
        return calls

    def _tracked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def tracked(*args: Any, **keywords: Any) -> Any:
            # Before the call, which an alarm may interrupt.
            self.calls.add(int(args[0]) if args and isinstance(args[0], int) else -1)
            return function(*args, **keywords)

        return tracked


class ChangeTracker:
    """Record changes of this process from now on, so that ``ProcessState`` need not look for them.

    Made before the user's module is imported, which may bind these functions to names of its own.

    Wrapping functions of modules may surprise the user. It is done for speed alone: a no-op task
    takes 36 us of CPU in its process, 66 us if signals and environment are compared after each
    task, 57 us if the environment alone is (loky, Python 3.11).
    """

    def __init__(self) -> None:
        import resource  # not on every platform

        self.signals = CallTracker((signal, "signal"), (signal, "siginterrupt"))
        self.dumps = CallTracker((faulthandler, "register"), (faulthandler, "dump_traceback_later"))
        self.kernel = CallTracker(
            (signal, "setitimer"), (signal, "alarm"), (signal, "pthread_sigmask"),
            (signal, "set_wakeup_fd"), (resource, "setrlimit"), (resource, "prlimit"),
            (locale, "setlocale"), (multiprocessing, "set_start_method"),
            *((os, name) for name in (
                "nice", "setpriority", "sched_setaffinity", "sched_setscheduler", "sched_setparam",
                "setuid", "seteuid", "setreuid", "setresuid", "setgid", "setegid", "setregid",
                "setresgid", "setgroups", "initgroups", "chroot", "chdir", "fchdir", "umask",
                "close", "closerange", "dup2", "set_blocking",
            )),
        )  # fmt: skip
        on_import("psutil", self._track_psutil)
        self.interpreter = CallTracker(
            *((sys, name) for name in (
                "setrecursionlimit", "setswitchinterval", "setdlopenflags", "set_asyncgen_hooks",
                "set_coroutine_origin_tracking_depth", "set_int_max_str_digits", "settrace",
                "setprofile",
            )),
            *((gc, name) for name in ("enable", "disable", "set_threshold", "set_debug")),
            *((threading, name) for name in ("stack_size", "settrace", "setprofile")),
            *((warnings, name) for name in ("simplefilter", "filterwarnings", "resetwarnings")),
            *((logging, name) for name in (
                "setLoggerClass", "setLogRecordFactory", "captureWarnings",
            )),
            (socket, "setdefaulttimeout"),
        )  # fmt: skip
        #: What they do can't be read, and not be put back.
        self.lasting = CallTracker((sys, "addaudithook"), (os, "unshare"), (os, "setns"))
        # Changes of os.environ call these, too.
        self.environment = CallTracker((os, "putenv"), (os, "unsetenv"))
        self.event_loop: CallTracker | None = None
        on_import("asyncio", self._track_event_loop)

    def _track_psutil(self) -> None:
        process = sys.modules["psutil"].Process
        self.kernel.track(*((process, name) for name in ("nice", "cpu_affinity", "rlimit")))

    def _track_event_loop(self) -> None:
        asyncio = sys.modules["asyncio"]
        self.event_loop = CallTracker((asyncio.events, "set_event_loop"))
        asyncio.set_event_loop = asyncio.events.set_event_loop  # type: ignore[attr-defined]

    def any_in_kernel(self) -> bool:
        """Return whether signals or the state in the kernel may have changed."""
        return bool(
            self.kernel.calls or self.signals.calls or self.dumps.calls or self.lasting.calls
        )

    def forget(self) -> None:
        """Forget all calls until now."""
        for tracker in (
            self.signals, self.dumps, self.kernel, self.interpreter, self.lasting,
            self.environment, self.event_loop,
        ):  # fmt: skip
            if tracker is not None:
                tracker.pop()


class ProcessState:
    """The state of this process at one moment, to be restored later.

    Args:
        changes: tells what needs to be looked at, in a process of the task's own; None: always
            look at all.
        descriptors: restore those of stdout and stderr as well; takes two more descriptors.
    """

    def __init__(self, changes: ChangeTracker | None = None, *, descriptors: bool = False) -> None:
        numbers = () if changes is None else (0, 1, 2) if descriptors else (0,)
        self._saved = [_SavedDescriptor(n) for n in numbers if identity_or_none(n)]
        self._blocking = BLOCKING.read()
        self._cwd = _cwd()
        self._environ = dict(os.environb)
        self._temporary_folder = _temporary_folder()
        self._umask = _umask()
        last = _LAST_COMPARED if changes is None else _SIGNALS[-1]
        self._handlers = {int(n): signal.getsignal(n) for n in _SIGNALS if n <= last}
        self._wakeup_fd = _wakeup_fd()
        self._mask = _sigmask(signal.SIG_BLOCK, ())
        self._kernel = [state.read() for state in KERNEL]
        self._interpreter = INTERPRETER if changes is None else (*INTERPRETER, *DEBUGGERS)
        self._reads = [state.read for state in self._interpreter]
        self._values = [read() for read in self._reads]
        decimal = sys.modules.get("decimal")
        self._decimal_context = None if decimal is None else decimal.getcontext().copy()
        asyncio = sys.modules.get("asyncio")
        self._loop_policy = None if asyncio is None else asyncio.get_event_loop_policy()
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
        self._stream_options = [_options(stream) for stream in self._streams]
        self._changes = changes
        if changes is not None:
            changes.forget()
        self._every_time: tuple[Callable[[], object], ...] = (
            self._restore_streams,
            self._restore_environment,
            self._restore_decimal_context,
            self._restore_event_loop,
            self._restore_logging,
        )

    def restore(self, *, quickly: bool = False, kernel: bool = True) -> str:
        """Restore everything; return what could not be restored, in words.

        *quickly*: leave out most of it unless a tracked function was called.
        *kernel*: if not *quickly*, look at states.KERNEL as well.
        """
        changes = self._changes
        steps = self._every_time
        called = changes is None or changes.any_in_kernel()
        if not quickly or called or (changes is not None and changes.interpreter.calls):
            steps = (self._restore_interpreter, *steps)
        if called or not quickly:
            steps = (
                self._restore_handlers,
                self._restore_mask,
                self._restore_descriptors,
                self._restore_folder,
                *steps,
            )
        if called or (kernel and not quickly):
            # The resource limits first: with them in force, nothing else may work.
            steps = (self._restore_kernel, *steps)
        problems = []
        for step in steps:
            try:
                step()
            except Exception as error:  # noqa: BLE001 - whatever it was, something is not as it was
                problems.append(str(error) or type(error).__name__)
        return "; ".join(problems)

    def _restore_kernel(self) -> None:
        if self._changes is not None:
            self._changes.kernel.pop()
            if self._changes.lasting.pop():
                raise OSError(errno.EPERM, "audit hooks and namespaces can't be taken back")
        problems = []
        for state, value in zip(KERNEL, self._kernel, strict=True):
            try:
                if state.read() != value:
                    state.put_back(value)
            except Exception as error:  # noqa: BLE001 - the others are put back all the same
                problems.append(f"{state.name}: {error}")
        if problems:
            raise OSError(errno.EPERM, "; ".join(problems))

    def _restore_handlers(self) -> None:
        changes = self._changes
        if changes is None:
            numbers = {n for n, old in self._handlers.items() if signal.getsignal(n) != old}
        else:
            numbers = changes.signals.pop()
            dumps = changes.dumps.pop()
            if dumps:
                faulthandler.cancel_dump_traceback_later()
            for number in dumps.intersection(self._handlers):
                faulthandler.unregister(number)
            if not _CRASHES.isdisjoint(numbers):
                faulthandler.disable()  # enabled again before the next task
        for number in numbers:
            handler = self._handlers.get(number)
            if handler is not None:
                # Undoes a siginterrupt(), too.
                _signal(number, handler)

    def _restore_mask(self) -> None:
        if self._wakeup_fd is not None:
            _set_wakeup_fd(self._wakeup_fd)
        if _sigmask(signal.SIG_BLOCK, ()) != self._mask:
            if self._changes is not None and signal.sigpending():
                raise OSError(errno.EPERM, "a blocked signal is pending, which would come now")
            _sigmask(signal.SIG_SETMASK, self._mask)

    def _restore_descriptors(self) -> None:
        for saved in self._saved:
            saved.restore()
        if BLOCKING.read() != self._blocking:
            BLOCKING.put_back(self._blocking)
        for stream, options in zip(self._streams, self._stream_options, strict=True):
            if isinstance(stream, io.TextIOWrapper) and _options(stream) != options:
                stream.reconfigure(**options)

    def _restore_folder(self) -> None:
        if self._cwd is not None and _cwd() != self._cwd:
            _chdir(self._cwd)
        if _umask() != self._umask:
            _set_umask(self._umask)

    def _restore_streams(self) -> None:
        if (sys.stdin, sys.stdout, sys.stderr) != self._streams:
            sys.stdin, sys.stdout, sys.stderr = self._streams
        sys.stdout.flush()
        sys.stderr.flush()

    def _restore_environment(self) -> None:
        if self._changes is not None and not self._changes.environment.pop():
            return
        now = os.environb
        zone = now.get(b"TZ")
        for name in set(now) - set(self._environ):
            del now[name]
        for name, value in self._environ.items():
            if now.get(name) != value:
                now[name] = value
        if now.get(b"TZ") != zone:
            time.tzset()
        # It may have been made from the environment.
        if _temporary_folder() != self._temporary_folder:
            vars(sys.modules["tempfile"])["tempdir"] = self._temporary_folder

    def _restore_interpreter(self) -> None:
        if self._changes is not None:
            self._changes.interpreter.pop()
        values = [read() for read in self._reads]
        if values != self._values:
            for state, now, value in zip(self._interpreter, values, self._values, strict=True):
                if now != value:
                    state.put_back(value)

    def _restore_decimal_context(self) -> None:
        if self._decimal_context is not None:
            # Another copy for the next task, which may change it in place.
            sys.modules["decimal"].setcontext(self._decimal_context.copy())

    def _restore_event_loop(self) -> None:
        """Have the next task find a usable loop, as in a fresh process.

        ``asyncio.run`` leaves none. An open one stays: other objects in it may be in use.
        """
        if self._changes is None or self._changes.event_loop is None:
            return
        if sys.version_info >= (3, 14):
            return  # a task must not count on a loop that it has not made
        import asyncio

        policy = asyncio.get_event_loop_policy()
        if self._loop_policy is None:
            self._loop_policy = asyncio.DefaultEventLoopPolicy()
        if policy is not self._loop_policy and type(policy) is not type(self._loop_policy):
            policy = self._loop_policy
            asyncio.set_event_loop_policy(policy)
        if self._changes.event_loop.pop():
            try:
                closed = policy.get_event_loop().is_closed()
            except RuntimeError:  # it is None, which only a new policy forgets
                closed = True
            if closed:
                asyncio.set_event_loop_policy(type(policy)())

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
        _dup2(self._copy, self._number)


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
    now = _set_umask(0o77)
    _set_umask(now)
    return now


def _options(stream: object) -> dict[str, Any]:
    """Return what ``reconfigure`` of a text stream changes."""
    if not isinstance(stream, io.TextIOWrapper):
        return {}
    names = ("encoding", "errors", "line_buffering", "write_through")
    return {name: getattr(stream, name) for name in names}


def _temporary_folder() -> str | None:
    tempfile = sys.modules.get("tempfile")
    return None if tempfile is None else tempfile.tempdir


def _wakeup_fd() -> int | None:
    """Return the descriptor to which signals are written, -1: none; None off the main thread."""
    try:
        descriptor = _set_wakeup_fd(-1)
    except ValueError:
        return None
    if descriptor != -1:
        _set_wakeup_fd(descriptor)
    return descriptor
