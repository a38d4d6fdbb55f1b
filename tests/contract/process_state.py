"""The parts of a process's state, how a task changes each, and how the next one sees it.

The names are those of the table in docs/reference/process-state.md.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import ctypes
import decimal
import faulthandler
import gc
import io
import locale
import logging
import multiprocessing
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cloud_tasks.worker_data import WorkerData

Decision = Literal["put back", "put back or replaced", "replaced", "stays"]
libc = ctypes.CDLL(None, use_errno=True)
kept: list[Any] = []
variable = contextvars.ContextVar("variable", default="given")
_SCRATCH = "TEST_PROCESS_STATE"


class Part(NamedTuple):
    """A part of the state of a process.

    Attributes:
        decision: what is done about a change, as documented.
        change: what a task does.
        read: returns what the next task sees, as JSON; sets nothing.
        inline: tried in the process of the tests, too; False: not put back there, or not safe.
        undo: ends what would outlive the test; a further task.
        needs_root: only root may change it.
    """

    decision: Decision
    change: Callable[[], object]
    read: Callable[[], Any]
    inline: bool = True
    undo: Callable[[], object] | None = None
    needs_root: bool = False


def _set(target: Any, name: str, value: Any) -> Callable[[], object]:
    return lambda: setattr(target, name, value)


def _slowly(change: Callable[[], object]) -> Callable[[], object]:
    """Make a change that no call of Python's shows: it is looked for after tasks over 5 ms."""

    def change_slowly() -> None:
        change()
        until = time.monotonic() + 0.006
        while time.monotonic() < until:
            pass

    return change_slowly


def _ignore(*args: Any) -> None:
    return None


def _swap_umask() -> int:
    umask = os.umask(0o22)
    os.umask(umask)
    return umask


def _soft_limits() -> list[int]:
    return [resource.getrlimit(n)[0] for n in (resource.RLIMIT_AS, resource.RLIMIT_NOFILE)]


def _lower_soft_limits() -> None:
    for number, soft in ((resource.RLIMIT_NOFILE, 200), (resource.RLIMIT_AS, 2**40)):
        resource.setrlimit(number, (soft, resource.getrlimit(number)[1]))


def _lower_hard_limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit - 1, limit - 1))


def _hard_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def _timers() -> list[bool]:
    return [signal.getitimer(which)[0] > 0 for which in (0, 1, 2)]


def _start_timers() -> None:
    for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(which, 60, 60)


def _start_native_timers() -> None:
    # As a profiler written in C does: no function of Python is called.
    for which in (0, 1, 2):
        assert libc.setitimer(which, struct.pack("4l", 60, 0, 60, 0), None) == 0


def _create_posix_timer() -> None:
    kept.append(ctypes.c_void_p())
    library = libc if hasattr(libc, "timer_create") else ctypes.CDLL("librt.so.1")
    assert library.timer_create(time.CLOCK_MONOTONIC, None, ctypes.byref(kept[-1])) == 0


def _proc(name: str) -> str:
    return Path("/proc/self", name).read_text("ascii")


def _status(*names: str) -> list[str]:
    return [line for line in _proc("status").splitlines() if line.split(":")[0] in names]


def _leave_zone() -> None:
    os.environ["TZ"] = "UTC-7"
    time.tzset()


def _change_environment() -> None:
    os.environ[_SCRATCH] = "1"
    os.environ["TMPDIR"] = "/nowhere"
    tempfile.tempdir = "/nowhere"


def _handlers() -> list[str]:
    return [repr(signal.getsignal(n)).split(" at ")[0] for n in sorted(signal.valid_signals())[:31]]


def _set_handlers() -> None:
    for number in (signal.SIGVTALRM, signal.SIGXCPU, signal.SIGWINCH, signal.SIGURG):
        signal.signal(number, _ignore)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)


def _block_and_raise() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    os.kill(os.getpid(), signal.SIGUSR2)


def _restarts_calls() -> bool:
    """Tell whether SIGINT's handler restarts system calls: SA_RESTART of its sigaction."""
    buffer = ctypes.create_string_buffer(152)
    assert libc.sigaction(int(signal.SIGINT), None, buffer) == 0
    return bool(struct.unpack_from("i", buffer, 136)[0] & 0x10000000)


def _wakeup_descriptor() -> bool:
    descriptor = signal.set_wakeup_fd(-1)
    if descriptor != -1:
        signal.set_wakeup_fd(descriptor)
    return descriptor == -1


def _wake() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    kept.append((ours, theirs))
    signal.set_wakeup_fd(ours.fileno())


def _dump_on_signal() -> None:
    faulthandler.register(signal.SIGUSR2)
    # It would end the process of a later task.
    faulthandler.dump_traceback_later(120, exit=True)


def _caught() -> list[str]:
    return [str(int(line.split()[1], 16) >> (signal.SIGUSR2 - 1) & 1) for line in _status("SigCgt")]


def _replace_standard() -> None:
    with open(os.devnull, "wb") as file:  # noqa: PTH123
        os.dup2(file.fileno(), 1)
    os.close(2)
    os.close(0)


def _identities() -> list[list[int]]:
    return [list(os.fstat(n)[1:3]) for n in (0, 1, 2)]


def _open_file() -> None:
    kept.append(os.open(os.devnull, os.O_RDONLY))


def _number_of_files() -> int:
    return len(kept)


def _start_thread() -> None:
    threading.Thread(target=threading.Event().wait, name="left", daemon=True).start()


def _threads() -> list[str]:
    return sorted(t.name for t in threading.enumerate() if t.name == "left")


def _start_process() -> None:
    command = [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"]
    kept.append(subprocess.Popen(command, stdin=subprocess.PIPE))


def _children() -> int:
    return len([item for item in kept if isinstance(item, subprocess.Popen)])


def _change_hooks() -> None:
    sys.excepthook = sys.unraisablehook = sys.displayhook = _ignore
    threading.excepthook = _ignore


def _hooks() -> list[str]:
    hooks = [sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook]
    return [getattr(hook, "__name__", "?") for hook in hooks]


def _trace_all() -> None:
    threading.settrace(_ignore)
    threading.setprofile(_ignore)
    sys.setprofile(_ignore)
    sys.settrace(_ignore)


def _tracers() -> list[str]:
    functions = (threading.gettrace(), threading.getprofile(), sys.getprofile(), sys.gettrace())
    return [repr(function) for function in functions]


def _use_tool() -> None:
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None:
        monitoring.use_tool_id(4, "left")
        monitoring.register_callback(4, monitoring.events.PY_START, _ignore)
        monitoring.set_events(4, monitoring.events.PY_START)


def _tool() -> Any:
    monitoring = getattr(sys, "monitoring", None)
    return None if monitoring is None else monitoring.get_tool(4)


def _track_coroutines() -> None:
    sys.set_asyncgen_hooks(_ignore)
    sys.set_coroutine_origin_tracking_depth(3)


def _change_gc() -> None:
    gc.disable()
    gc.set_threshold(1, 2, 3)
    gc.callbacks.append(_ignore)
    gc.set_debug(gc.DEBUG_UNCOLLECTABLE)


def _gc() -> list[Any]:
    return [gc.isenabled(), gc.get_threshold(), len(gc.callbacks), gc.get_debug()]


def _change_warnings() -> None:
    warnings.simplefilter("error")
    logging.captureWarnings(True)


def _warnings() -> list[Any]:
    return [repr(warnings.filters), warnings.showwarning.__name__]


def _change_decimal() -> None:
    decimal.getcontext().prec = 3
    decimal.setcontext(decimal.Context(prec=4, traps=[decimal.Inexact]))


def _change_loggers() -> None:
    class Own(logging.Logger):
        pass

    logging.setLoggerClass(Own)
    logging.setLogRecordFactory(lambda *args, **keywords: logging.makeLogRecord({}))
    logging.raiseExceptions = False
    logging.getLogger().setLevel(1)
    logging.disable(logging.CRITICAL)


def _loggers() -> list[Any]:
    root = logging.getLogger()
    factory = logging.getLogRecordFactory()
    kind = logging.getLoggerClass()
    return [kind.__name__, factory.__qualname__, logging.raiseExceptions, root.level, root.disabled]


def _loop() -> str:
    """Tell how a program from before asyncio.run finds its loop; as in a fresh process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "closed" if asyncio.get_event_loop_policy().get_event_loop().is_closed() else ""
        except RuntimeError as error:
            return str(error)


async def _nothing() -> None:
    return None


def _reconfigure() -> None:
    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, io.TextIOWrapper)
        stream.reconfigure(encoding="utf-16", line_buffering=False)


def _stream_options() -> list[Any]:
    return [(getattr(s, "encoding", 0), getattr(s, "line_buffering", 0)) for s in _streams()]


def _streams() -> tuple[Any, Any]:
    return sys.stdout, sys.stderr


def _change_argv() -> None:
    sys.argv.append("more")
    sys.argv = ["other"]


def _give_up_rights() -> None:
    os.setgroups([12345])
    os.setegid(12345)
    os.seteuid(12345)


def _enter_namespace() -> None:
    # From Python 3.12 on; before it, it can't be done without C.
    unshare = getattr(os, "unshare", None)
    if unshare is None:
        sys.addaudithook(_ignore)
    else:
        unshare(0x04000000)  # CLONE_NEWUTS


def _flags() -> list[int]:
    return [libc.prctl(3, 0, 0, 0, 0), libc.prctl(30, 0, 0, 0, 0), libc.personality(0xFFFFFFFF)]


def _change_flags() -> None:
    libc.prctl(4, 0, 0, 0, 0)
    libc.prctl(29, 12345, 0, 0, 0)
    libc.personality(0x0040000)


def _random_state() -> list[int]:
    return [hash(random.getstate()[1]) % 1000 == _seeded]


_seeded = hash(random.Random(7).getstate()[1]) % 1000

#: By their names in the documentation.
PARTS: dict[str, Part] = {
    "working directory": Part("put back", lambda: os.chdir("/usr"), os.getcwd),
    "umask": Part("put back", lambda: os.umask(0o777), _swap_umask),
    "environment variables": Part(
        "put back",
        _change_environment,
        lambda: [os.environ.get(_SCRATCH), os.environ.get("TMPDIR"), tempfile.tempdir],
    ),
    "time zone": Part("put back", _leave_zone, lambda: [time.tzname, time.localtime(0).tm_hour]),
    "interval timers, `alarm`": Part("put back", _start_timers, _timers),
    "interval timers that native code sets": Part(
        "put back", _slowly(_start_native_timers), _timers
    ),
    "POSIX timers": Part("replaced", _slowly(_create_posix_timer), lambda: _proc("timers"), False),
    "soft resource limits": Part("put back", _lower_soft_limits, _soft_limits),
    "hard resource limits": Part(
        "put back or replaced", _lower_hard_limit, _hard_limit, inline=False
    ),
    "priority (`nice`)": Part(
        "put back or replaced",
        lambda: os.nice(3),
        lambda: os.getpriority(os.PRIO_PROCESS, 0),
        inline=False,
    ),
    "CPU affinity": Part(
        "put back",
        lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        lambda: sorted(os.sched_getaffinity(0)),
    ),
    "scheduling policy": Part(
        "put back or replaced",
        lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
        lambda: os.sched_getscheduler(0),
        inline=False,
    ),
    "`oom_score_adj`": Part(
        "put back or replaced",
        _slowly(lambda: Path("/proc/self/oom_score_adj").write_text("500", "ascii")),
        lambda: _proc("oom_score_adj"),
        inline=False,
    ),
    "user, groups, capabilities": Part(
        "replaced",
        _give_up_rights,
        lambda: _status("Uid", "Gid", "Groups", "CapEff"),
        inline=False,
        needs_root=True,
    ),
    "`no_new_privs`, seccomp": Part(
        "replaced",
        _slowly(lambda: libc.prctl(38, 1, 0, 0, 0)),
        lambda: _status("NoNewPrivs", "Seccomp"),
        inline=False,
    ),
    "root directory": Part(
        "replaced",
        lambda: os.chroot("/usr"),
        lambda: list(os.stat("/")[1:3]),  # noqa: PTH116
        inline=False,
        needs_root=True,
    ),
    "namespaces (`os.unshare`, `os.setns`)": Part(
        "replaced",
        _enter_namespace,
        lambda: str(Path("/proc/self/ns/uts").readlink()),
        inline=False,
        needs_root=True,
    ),
    "flags of `prctl`, `personality`": Part("put back", _slowly(_change_flags), _flags),
    "name of the process": Part(
        "stays", lambda: libc.prctl(15, b"renamed", 0, 0, 0), lambda: _proc("comm"), False
    ),
    "signal handlers": Part("put back", _set_handlers, _handlers),
    "signal mask": Part(
        "put back",
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}),
        lambda: sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    ),
    "a blocked signal that is pending": Part(
        "replaced", _block_and_raise, lambda: sorted(signal.sigpending()), False
    ),
    "`signal.siginterrupt`": Part(
        "put back", lambda: signal.siginterrupt(signal.SIGINT, False), _restarts_calls, False
    ),
    "`signal.set_wakeup_fd`": Part("put back", _wake, _wakeup_descriptor),
    "`faulthandler` on a signal or after a time": Part(
        "put back", _dump_on_signal, _caught, inline=False
    ),
    "descriptors 0, 1 and 2": Part("put back", _replace_standard, _identities, inline=False),
    "`O_NONBLOCK` of these": Part(
        "put back",
        lambda: os.set_blocking(1, False),
        lambda: [os.get_blocking(n) for n in (0, 1, 2)],
    ),
    "other descriptors, and locks on them": Part("stays", _open_file, _number_of_files, False),
    "threads": Part("stays", _start_thread, _threads, inline=False),
    "child processes": Part("stays", _start_process, _children, False, lambda: kept.pop().kill()),
    "`sys.stdin`, `sys.stdout`, `sys.stderr`": Part(
        "put back", _set(sys, "stdout", io.StringIO()), lambda: type(sys.stdout).__name__
    ),
    "encoding and buffering of these": Part("put back", _reconfigure, _stream_options, False),
    "`sys.argv`": Part("put back", _change_argv, lambda: list(sys.argv)),
    "recursion limit": Part("put back", lambda: sys.setrecursionlimit(400), sys.getrecursionlimit),
    "switch interval": Part("put back", lambda: sys.setswitchinterval(1), sys.getswitchinterval),
    "digits of an integer": Part(
        "put back",
        lambda: getattr(sys, "set_int_max_str_digits", _ignore)(640),
        lambda: getattr(sys, "get_int_max_str_digits", _ignore)(),
    ),
    "`sys.setdlopenflags`": Part(
        "put back", lambda: sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL), sys.getdlopenflags
    ),
    "`sys.set_asyncgen_hooks`, `sys.set_coroutine_origin_tracking_depth`": Part(
        "put back",
        _track_coroutines,
        lambda: [repr(sys.get_asyncgen_hooks()), sys.get_coroutine_origin_tracking_depth()],
    ),
    "`sys.dont_write_bytecode`, `sys.pycache_prefix`": Part(
        "put back",
        _set(sys, "pycache_prefix", "/nowhere"),
        lambda: [sys.dont_write_bytecode, sys.pycache_prefix],
    ),
    "`sys.tracebacklimit`": Part(
        "put back", _set(sys, "tracebacklimit", 0), lambda: getattr(sys, "tracebacklimit", None)
    ),
    "hooks for exceptions and display": Part("put back", _change_hooks, _hooks),
    "trace and profile functions": Part("put back", _trace_all, _tracers, inline=False),
    "tools of `sys.monitoring`": Part("put back", _use_tool, _tool, inline=False),
    "audit hooks": Part("replaced", lambda: sys.addaudithook(_ignore), lambda: None, False),
    "garbage collector": Part("put back", _change_gc, _gc),
    "`tracemalloc`": Part("put back", tracemalloc.start, tracemalloc.is_tracing),
    "warning filters, `warnings.showwarning`": Part("put back", _change_warnings, _warnings),
    "locale": Part(
        "put back",
        lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
        lambda: locale.setlocale(locale.LC_ALL),
    ),
    "context variables": Part("put back", lambda: variable.set("changed"), variable.get),
    "decimal context": Part("put back", _change_decimal, lambda: repr(decimal.getcontext())),
    "default timeout of sockets": Part(
        "put back", lambda: socket.setdefaulttimeout(0.001), socket.getdefaulttimeout
    ),
    "start method of `multiprocessing`": Part(
        "put back",
        lambda: multiprocessing.set_start_method("spawn", force=True),
        lambda: multiprocessing.get_start_method(allow_none=True),
    ),
    "stack size of threads": Part(
        "put back", lambda: threading.stack_size(2**20), threading.stack_size
    ),
    "event loop that is closed, or none": Part(
        "put back", lambda: asyncio.run(_nothing()), _loop, inline=False
    ),
    "event loop policy": Part(
        "put back",
        lambda: asyncio.set_event_loop_policy(type("Own", (asyncio.DefaultEventLoopPolicy,), {})()),
        lambda: type(asyncio.get_event_loop_policy()).__name__,
        inline=False,
    ),
    "root logger, classes and factories of `logging`": Part("put back", _change_loggers, _loggers),
    "other loggers": Part(
        "stays",
        lambda: logging.getLogger("left").setLevel(7),
        lambda: logging.getLogger("left").level,
        inline=False,
    ),
    "import paths and modules": Part(
        "stays", lambda: sys.path.append("/left"), lambda: "/left" in sys.path, False
    ),
    "generators of random numbers": Part("stays", lambda: random.seed(7), _random_state, False),
    "module globals, `atexit` functions": Part(
        "stays", lambda: kept.append(atexit.register(_ignore)), lambda: len(kept), False
    ),
}


def changes(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Change one part."""
    PARTS[data["part"]].change()
    return False, os.getpid()


def undoes(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """End what a change has left behind."""
    undo = PARTS[data["part"]].undo
    return False, None if undo is None else repr(undo())


def reads_all(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Return what this task sees of all parts but those in *without*."""
    parts = PARTS.items()
    return False, {name: part.read() for name, part in parts if name not in data["without"]}


def reads(task_id: str, data: dict[str, Any], worker_data: WorkerData) -> Any:
    """Return what this task sees of one part, and the process that it runs in."""
    return False, {"value": PARTS[data["part"]].read(), "pid": os.getpid()}
