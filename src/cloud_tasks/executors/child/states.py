"""Read and put back single parts of the state of a process, in two tables.

    INTERPRETER  what Python's own functions read, in 2 us for all; DEBUGGERS beside it
    KERNEL       what takes a system call or a file of /proc, 40 us for all

restore.py says when each is used. docs/reference/process-state.md lists for users what is put
back, and tests/contract/test_process_state.py tries every line of that list.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import locale
import logging
import multiprocessing
import operator
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple, cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The function itself, not tracked by restore.ChangeTracker.
_close = os.close
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_STANDARD = (0, 1, 2)
#: Of <linux/prctl.h>: how to read and write what a process has set of itself. Whether it can be
#: dumped and traced, keeps its rights after a setuid, how exactly it is woken, has huge pages.
_FLAGS = ((3, 4), (7, 8), (30, 29), (42, 41))
#: The same, for what can only be read: seccomp, and no_new_privs.
_GET_SECCOMP, _GET_NO_NEW_PRIVS = 21, 39
#: Version 3 of <linux/capability.h>.
_CAPABILITY_VERSION = 0x20080522
#: Has personality() return the present one.
_PRESENT = 0xFFFFFFFF


class State(NamedTuple):
    """A part of the state of the process.

    Attributes:
        name: for people.
        read: returns it; values are compared by ``==``.
        put_back: sets it to a value that was read; raises if that is not possible.
    """

    name: str
    read: Callable[[], Any]
    put_back: Callable[[Any], object]


def _attributes(module: ModuleType, *names: str) -> State:
    def put_back(values: tuple[object, ...]) -> None:
        for name, value in zip(names, values, strict=True):
            setattr(module, name, value)

    # The second one only makes the result a tuple where there is a single name.
    get = operator.itemgetter(*names, *names[:1])
    return State(
        f"attributes of {module.__name__}",
        functools.partial(get, vars(module)),
        lambda values: put_back(values[: len(names)]),
    )


def _contents(name: str, items: list[Any]) -> State:
    def put_back(values: list[Any]) -> None:
        items[:] = values

    return State(name, items.copy, put_back)


def _put_back_filters(filters: list[Any]) -> None:
    warnings.simplefilter("default")  # has warnings forget which ones were shown
    warnings.filters[:] = filters  # type: ignore[index]


def _put_back_warnings(values: tuple[Any, Any, Any]) -> None:
    # Else logging would take the warnings for captured, and do nothing when asked to capture them.
    logging.captureWarnings(False)
    warnings.showwarning, warnings.formatwarning, warnings.filters = values


def _limit_frames(limit: int | None) -> None:
    if limit is None:  # as if there were none
        del sys.tracebacklimit
    else:
        sys.tracebacklimit = limit


def _tools() -> list[str | None]:
    return [sys.monitoring.get_tool(n) for n in range(6)]  # type: ignore[attr-defined,unused-ignore]


def _put_back_tools(tools: list[str | None]) -> None:
    monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    for number, name in enumerate(tools):
        if name is None and monitoring.get_tool(number) is not None:
            monitoring.set_events(number, 0)
            for event in vars(monitoring.events).values():
                # A combination of events has no callback of its own.
                if isinstance(event, int) and event.bit_count() == 1:
                    with contextlib.suppress(ValueError):
                        monitoring.register_callback(number, event, None)
            monitoring.free_tool_id(number)


def _is_tracing() -> bool:
    tracemalloc = sys.modules.get("tracemalloc")
    return tracemalloc is not None and tracemalloc.is_tracing()


def _put_back_tracing(was_tracing: bool) -> None:
    import tracemalloc

    tracemalloc.start() if was_tracing else tracemalloc.stop()


_zone = functools.partial(operator.itemgetter("timezone", "tzname"), vars(time))
#: Set by debuggers, which in the worker's own process the user may be working with.
DEBUGGERS = (
    State("sys.settrace", sys.gettrace, sys.settrace),
    State("sys.setprofile", sys.getprofile, sys.setprofile),
    State("threading.settrace", threading.gettrace, threading.settrace),
    State("threading.setprofile", threading.getprofile, threading.setprofile),
    _attributes(sys, "breakpointhook"),
    *([State("sys.monitoring", _tools, _put_back_tools)] if hasattr(sys, "monitoring") else []),
)
INTERPRETER = (
    State("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    State("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
    State("sys.setdlopenflags", sys.getdlopenflags, sys.setdlopenflags),
    State("sys.set_asyncgen_hooks", sys.get_asyncgen_hooks, lambda v: sys.set_asyncgen_hooks(*v)),
    State(
        "sys.set_coroutine_origin_tracking_depth",
        sys.get_coroutine_origin_tracking_depth,
        sys.set_coroutine_origin_tracking_depth,
    ),
    *(
        [State("the digits of an int", sys.get_int_max_str_digits, sys.set_int_max_str_digits)]
        if hasattr(sys, "set_int_max_str_digits")  # not in the first releases of 3.10
        else []
    ),
    State("gc.enable", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    State("gc.set_threshold", gc.get_threshold, lambda values: gc.set_threshold(*values)),
    State("gc.set_debug", gc.get_debug, gc.set_debug),
    _contents("gc.callbacks", gc.callbacks),
    State("threading.stack_size", threading.stack_size, threading.stack_size),
    State("tracemalloc", _is_tracing, _put_back_tracing),
    State("socket.setdefaulttimeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
    # The environment has been put back before.
    State("the time zone", _zone, lambda _: time.tzset()),
    State(
        "attributes of warnings",
        functools.partial(
            operator.itemgetter("showwarning", "formatwarning", "filters"), vars(warnings)
        ),
        _put_back_warnings,
    ),
    State("warnings.filters", cast("list[Any]", warnings.filters).copy, _put_back_filters),
    State("sys.tracebacklimit", functools.partial(vars(sys).get, "tracebacklimit"), _limit_frames),
    _attributes(
        sys, "excepthook", "unraisablehook", "displayhook", "dont_write_bytecode",
        "pycache_prefix", "argv", "__stdin__", "__stdout__", "__stderr__",
    ),
    _contents("sys.argv", sys.argv),
    _attributes(threading, "excepthook"),
    _attributes(logging, "raiseExceptions", "lastResort"),
    State("logging.setLoggerClass", logging.getLoggerClass, logging.setLoggerClass),
    State("the log record factory", logging.getLogRecordFactory, logging.setLogRecordFactory),
)  # fmt: skip


@functools.cache
def _limit_numbers() -> tuple[int, ...]:
    import resource  # not on every platform

    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return tuple({getattr(resource, name) for name in names})


def _limits() -> list[tuple[int, int]]:
    import resource

    return [resource.getrlimit(number) for number in _limit_numbers()]


def _put_back_limits(limits: list[tuple[int, int]]) -> None:
    import resource

    for number, pair in zip(_limit_numbers(), limits, strict=True):
        if resource.getrlimit(number) != pair:
            resource.setrlimit(number, pair)


def _running_timers() -> list[bool]:
    return [signal.getitimer(which)[0] > 0 for which in _TIMERS]


def _stop_timers(were_running: list[bool]) -> None:
    for which, was_running in zip(_TIMERS, were_running, strict=True):
        if not was_running:
            signal.setitimer(which, 0)


def _proc(name: str) -> bytes | None:
    """Return the text of a file in /proc/self; None where there is no such file."""
    try:
        descriptor = os.open(f"/proc/self/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, 8192)
    finally:
        _close(descriptor)


@functools.cache
def _c() -> Any:
    """Return Linux' C library; None on other systems, or without ctypes."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes

        library = ctypes.CDLL(None)
        library.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
        library.personality.argtypes = (ctypes.c_ulong,)
        _ = library.capget
    except (ImportError, OSError, AttributeError):
        return None
    return library


def _flags() -> list[int]:
    c = _c()
    if c is None:
        return []
    return [c.personality(_PRESENT), *(c.prctl(get, 0, 0, 0, 0) for get, _ in _FLAGS)]


def _put_back_flags(flags: list[int]) -> None:
    c = _c()
    c.personality(flags[0])
    for (get, put), value in zip(_FLAGS, flags[1:], strict=True):
        if c.prctl(get, 0, 0, 0, 0) != value and c.prctl(put, value, 0, 0, 0) != 0:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def _rights() -> list[object]:
    rights: list[object] = [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups()]
    c = _c()
    if c is not None:
        import ctypes

        sets = (ctypes.c_uint32 * 6)()
        c.capget((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION), sets)
        rights += [list(sets)]
        rights += [c.prctl(get, 0, 0, 0, 0) for get in (_GET_SECCOMP, _GET_NO_NEW_PRIVS)]
    return rights


def _put_back_oom_score(text: bytes) -> None:
    with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:  # noqa: PTH123
        file.write(text)


def _scheduling() -> tuple[int, int]:
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def _put_back_scheduling(values: tuple[int, int]) -> None:
    os.sched_setscheduler(0, values[0], os.sched_param(values[1]))


def _blocking() -> list[bool]:
    blocking = []
    for number in _STANDARD:
        try:
            blocking.append(os.get_blocking(number))
        except OSError:  # it is closed
            blocking.append(True)
    return blocking


def _put_back_blocking(blocking: list[bool]) -> None:
    for number, blocks in zip(_STANDARD, blocking, strict=True):
        with contextlib.suppress(OSError):  # it is closed
            os.set_blocking(number, blocks)


def _impossible(value: object) -> None:
    raise OSError(errno.EPERM, "it can't be put back")


#: Limits first: with them in force, nothing else may work.
KERNEL = (
    State("the resource limits", _limits, _put_back_limits),
    State("the interval timers", _running_timers, _stop_timers),
    State("the POSIX timers", functools.partial(_proc, "timers"), _impossible),
    State(
        "the priority",
        functools.partial(os.getpriority, os.PRIO_PROCESS, 0),
        functools.partial(os.setpriority, os.PRIO_PROCESS, 0),
    ),
    *(
        [
            State(
                "the CPU affinity",
                functools.partial(os.sched_getaffinity, 0),
                functools.partial(os.sched_setaffinity, 0),
            ),
            State("the scheduling policy", _scheduling, _put_back_scheduling),
        ]
        if hasattr(os, "sched_setaffinity") and hasattr(os, "sched_setscheduler")
        else []
    ),
    State(
        "multiprocessing.set_start_method",
        functools.partial(multiprocessing.get_start_method, allow_none=True),
        functools.partial(multiprocessing.set_start_method, force=True),
    ),
    State("flags of prctl and personality", _flags, _put_back_flags),
    State("oom_score_adj", functools.partial(_proc, "oom_score_adj"), _put_back_oom_score),
    State("the rights of the process", _rights, _impossible),
    State("the root directory", lambda: os.stat("/")[1:3], _impossible),  # noqa: PTH116
    State(
        "the locale",
        functools.partial(locale.setlocale, locale.LC_ALL),
        functools.partial(locale.setlocale, locale.LC_ALL),
    ),
)
#: O_NONBLOCK of the standard descriptors, to be put back after the descriptors themselves.
BLOCKING = State("O_NONBLOCK", _blocking, _put_back_blocking)
