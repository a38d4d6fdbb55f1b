"""Boot once, then fork a fresh process for each task of one slot: the process behind forkserver.

    worker ─── control socket: FORK, REAP, EXIT ──► zygote: _Zygote.serve()
       ▲  ◄──────────── FORKED, DIED, FAILED ──────────┤ fork
       │                                               ▼
       └── the task's own socket: TASK, DONE ───── forked process: _run_task(), then _exit()

1. The zygote boots as any child does, reports what in the user's module can't bear a fork
   (``fork_problems``), warms up, and freezes its memory. It starts no thread and runs none of
   the user's tasks.
2. Each FORK brings the socket of the new process. What that would have to do for itself is done
   before the fork where possible, because a forked process copies every page that it writes to.
3. Processes that a task leaves behind become children of the forked process or of the zygote,
   which are subreapers, and are killed.
4. A forked process ends by ``os._exit`` after its exit work (``ExitWork``), because to tear down
   the interpreter costs several times as much as its whole life.

It imports little: a fork copies the page tables of all the memory that the zygote has.
See common/fork_protocol.py for the messages, pool/zygotes.py for the worker's side.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Collection

from cloud_tasks.executors.child import stop_signals
from cloud_tasks.executors.child.lifeline import die_with_worker
from cloud_tasks.executors.child.main import TaskRunner, boot, isolate
from cloud_tasks.executors.child.socket_end import SocketEnd
from cloud_tasks.executors.common import fork_protocol, protocol
from cloud_tasks.executors.common.call import exit_code, flush_streams
from cloud_tasks.executors.common.protocol import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from typing import Any, TypeVar

    _F = TypeVar("_F", bound=Callable[..., Any])

#: Runs of a no-op task in the zygote before its first fork. Python specializes a function within
#: that many calls. Without them a no-op task took 37 % more CPU (2.50 ms instead of 1.83, Python
#: 3.11), because each forked process did that work anew and copied the pages it wrote.
_WARM_UP_RUNS = 60
#: Milliseconds between two tries to kill what tasks have left behind.
_PAUSE = 2
#: How often that is tried when the worker is gone, which takes some seconds. Counted, not timed:
#: killed processes can't end while a machine is suspended.
_LAST_TRIES = 2000
#: Of <linux/prctl.h>.
_PR_SET_CHILD_SUBREAPER = 36
#: Libraries that start threads when they are imported, and work in a fork all the same.
_FORK_SAFE = ("numpy", "scipy")
#: Sentences about threads, and about libraries.
_MISSING = "which the processes of tasks will not have: start them in the task"
_BROKEN = "which does not work in a fork: open it in the task"


def main(
    descriptor: int, cookie: bytes, *, control: int, page: int, log: int | None = None
) -> None:
    """Serve the worker until it closes: in the zygote, and in each process that it forks.

    *control* is our end of the socket for forks and deaths. *descriptor*, for the boot alone, and
    the others are as in ``main.main``.

    Raises:
        SystemExit: in a forked process with threads that must be waited for: end it with that
            code.
    """
    isolate(descriptor, control, page, log)
    # It runs no task that a SIGINT could be meant for.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_work = ExitWork()
    exit_work.install()
    boot_socket = SocketEnd(descriptor, cookie, None)
    runner = boot(boot_socket, page, log, forks=True)
    if runner is None:
        return
    for problem in fork_problems():
        boot_socket.write(protocol.WARNING, problem.encode())
    boot_socket.write(protocol.READY, b"")
    os.close(descriptor)
    runner.warm_up(_WARM_UP_RUNS)
    gc.collect()
    gc.freeze()  # a collection in a forked process would write to all objects, and so copy them
    # Held until the end: to free it in a forked process would copy the memory of its parts.
    zygote = _Zygote(socket.socket(fileno=control), runner)
    if zygote.serve():
        exit_work.clear()
        _exit(exit_work, _run_task(runner))


class _Zygote:
    """The loop of the zygote: fork on request, report deaths, kill what tasks leave behind."""

    def __init__(self, control: socket.socket, runner: TaskRunner) -> None:
        self._run = os.environ[MARK].partition(".")[0]
        self._runner = runner
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        #: Forked processes that have not been reaped, by serial.
        self._pids: dict[int, int] = {}
        #: Serials by the pidfd that becomes readable at the death.
        self._serials: dict[int, int] = {}
        self._exiting = False
        #: Tasks that have ended may have left processes behind.
        self._has_orphans = False
        become_subreaper()
        #: What the user's module started when it was imported.
        self._children_of_module = children()

    def serve(self) -> bool:
        """Work until the worker closes or asks for the end; True in each forked process."""
        while self._pids or not self._exiting:
            for descriptor, _ in self._poll.poll(_PAUSE if self._has_orphans else None):
                if descriptor == self._control.fileno():
                    if self._handle_message():
                        return True
                else:
                    self._report_death(descriptor)
                    self._has_orphans = True
            if self._has_orphans:
                keep = self._children_of_module.union(self._pids.values())
                self._has_orphans = not kill_children(keep)
        return False

    def _handle_message(self) -> bool:
        """Handle the next message of the worker; True in a process that was forked for it."""
        received = fork_protocol.receive(self._control)
        if received is None:
            self._kill_all()
            return False
        kind, serial, dead, cookie, descriptor = received
        self._exiting = self._exiting or kind == fork_protocol.EXIT
        if dead:
            os.waitpid(self._pids.pop(dead), 0)
        if descriptor is None:
            if kind == fork_protocol.FORK:  # this process has none left for it
                self._send(fork_protocol.FAILED, serial, errno.EMFILE)
            return False
        os.environ[MARK] = f"{self._run}.{serial}"
        os.set_inheritable(descriptor, False)
        self._runner.prepare_fork(SocketEnd(descriptor, cookie, None))
        if self._fork(serial):
            return True
        os.close(descriptor)
        return False

    def _fork(self, serial: int) -> bool:
        """Fork and report it; True in the new process."""
        try:
            pid = stop_signals.handler.fork()
        except OSError as error:
            self._send(fork_protocol.FAILED, serial, error.errno or 0)
            return False
        if pid == 0:
            for descriptor in (self._control.detach(), *self._serials):
                os.close(descriptor)
            return True
        try:
            watch = os.pidfd_open(pid)
        except OSError as error:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            self._send(fork_protocol.FAILED, serial, error.errno or 0)
            return False
        self._pids[serial] = pid
        self._serials[watch] = serial
        self._poll.register(watch, select.POLLIN)
        self._send(fork_protocol.FORKED, serial, pid)
        return False

    def _report_death(self, watch: int) -> None:
        serial = self._serials.pop(watch)
        # Not reaped before the worker has killed the group: until then no other process can get
        # its number.
        end = os.waitid(os.P_PID, self._pids[serial], os.WEXITED | os.WNOWAIT)
        assert end is not None
        code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        # Before anything else, as the slot's next task waits for it.
        self._send(fork_protocol.DIED, serial, code)
        self._poll.unregister(watch)
        os.close(watch)

    def _send(self, kind: int, serial: int, value: int) -> None:
        with contextlib.suppress(OSError):  # the worker has closed: the next receive finds out
            self._control.send(fork_protocol.message(kind, serial, value))

    def _kill_all(self) -> None:
        """Kill all forked processes, with all that is below them, and exit: the worker is gone."""
        for pid in self._pids.values():
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(OSError):
                    kill(pid, signal.SIGKILL)
        # What they leave in other sessions becomes ours, as they end.
        for _ in range(_LAST_TRIES):
            if kill_children(()):
                break
            time.sleep(_PAUSE / 1000)
        os._exit(0)


def _run_task(runner: TaskRunner) -> int:
    """Run the one task of this forked process; return its exit code."""
    os.setsid()
    die_with_worker(runner.lifeline)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    become_subreaper()
    reseed_numpy()
    runner.crash_traceback.enable()  # a fork disables it
    try:
        runner.serve()
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)
    except SystemExit as error:
        return exit_code(error)
    return 0


def _exit(exit_work: ExitWork, code: int) -> None:
    """End this forked process, doing of Python's own exit what can be observed from outside."""
    if any(not thread.daemon for thread in other_threads()):
        raise SystemExit(code)  # Python's exit waits for them
    exit_work.run_all()
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        # As multiprocessing's own exit function does: terminate the daemons, wait for the others.
        processes = multiprocessing.active_children()
        for process in processes:
            if process.daemon:
                process.terminate()
        for process in processes:
            process.join()
    flush_streams()
    os._exit(code)


class ExitWork:
    """Replace ``atexit`` in this process and in those that it forks, once it is installed.

    ``atexit`` itself can't be used for the user's functions, because it can't forget those that
    were registered in the zygote. What it held before, from sitecustomize or a .pth file, belongs
    to every process: coverage saves its data so.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def install(self) -> None:
        """Put ``register`` and ``unregister`` in the place of those of ``atexit``."""
        # Run also by a process that ends as Python usually does.
        atexit.register(self.run)
        atexit.register = self.register
        atexit.unregister = self.unregister

    def clear(self) -> None:
        """Forget the exit work of the zygote, in a process that was forked from it.

        A temporary folder that was made once must not be removed by every forked process.
        """
        self._entries.clear()

    def register(self, func: _F, /, *args: Any, **kwargs: Any) -> _F:
        """Do as ``atexit.register`` does."""
        if not callable(func):
            raise TypeError("the first argument must be callable")
        self._entries.append((func, args, kwargs))
        return func

    def unregister(self, func: Callable[..., Any], /) -> None:
        """Do as ``atexit.unregister`` does."""
        self._entries = [entry for entry in self._entries if entry[0] != func]

    def run_all(self) -> None:
        """Run all exit work of a process that does not end as Python usually does."""
        # Without a public name, but multiprocessing ends its forks in the same way.
        atexit._run_exitfuncs()  # calls run() first, which was registered last

    def run(self) -> None:
        """Call all registered functions, the last one first; print what they raise."""
        while self._entries:
            func, args, kwargs = self._entries.pop()
            try:
                func(*args, **kwargs)
            except BaseException:  # noqa: BLE001 - the user's function; the others still run
                with contextlib.suppress(Exception):
                    sys.excepthook(*sys.exc_info())


def fork_problems() -> list[str]:
    """Return a sentence for each thing in this process that will not work in a fork of it."""
    problems = []
    names = [thread.name for thread in other_threads()]
    native = _native_threads() - 1 - len(names)
    if names:
        problems.append(f"started {_count(len(names))} ({', '.join(names[:3])}), {_MISSING}")
    if native > 0 and "grpc" in sys.modules:
        problems.append(f"opened gRPC, {_BROKEN}")
    elif native > 0 and not any(name in sys.modules for name in _FORK_SAFE):
        problems.append(f"started {_count(native)} of C code, {_MISSING}")
    if _has_gpu():
        problems.append(f"opened CUDA, {_BROKEN}")
    return [f"importing your module {p}, or use --executor spawn" for p in problems]


def other_threads() -> list[threading.Thread]:
    """Return all threads of Python but the main one."""
    # Not imported here: without it there is no other thread, and it has work to do after each fork.
    module = sys.modules.get("threading")
    if module is None:
        return []
    return [thread for thread in module.enumerate() if thread is not module.main_thread()]


def _count(n: int) -> str:
    return "a thread" if n == 1 else f"{n} threads"


def _native_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - imports no pathlib
    except OSError:
        return 1


def _has_gpu() -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - imports no pathlib
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}").startswith("/dev/nvidia"):  # noqa: PTH115
                    return True
    return False


def reseed_numpy() -> None:
    """Seed numpy's global random state anew, so that forked processes differ.

    Python does so for ``random``. Generators that a module made at its import stay as they are.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # Without an argument it draws the entropy itself, which takes 0.1 ms.
        numpy_random.seed(struct.unpack("8I", os.urandom(32)))


def become_subreaper() -> None:
    """Adopt orphans below this process; does nothing where the platform can't.

    Linux gives an orphan to the nearest subreaper above it. So a process that a task has started
    as a daemon, in a session of its own, is still found when the task has ended.
    """
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@functools.cache
def _prctl() -> Callable[..., int] | None:
    try:
        import ctypes

        call: Callable[..., int] = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return call


def children() -> set[int]:
    """Return the pids of this process's children, zombies included; empty without /proc."""
    pid = os.getpid()
    try:
        descriptor = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return set()
    try:
        return set(map(int, os.read(descriptor, 2**20).split()))
    finally:
        os.close(descriptor)


def kill_children(keep: Collection[int]) -> bool:
    """Kill all children but those in *keep*, reap the dead; True once there was none to kill.

    Does not wait for deaths, and a killed process may have forked just before: call it again until
    it returns True.
    """
    others = children().difference(keep)
    for pid in others:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.waitpid(pid, os.WNOHANG)
    return not others
