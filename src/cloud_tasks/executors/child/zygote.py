"""What runs in a zygote: it boots once, then forks a fresh process for each task.

Started by :mod:`~cloud_tasks.executors.forkserver`. It runs no task, starts no thread, and
imports little: each fork copies the tables of all the memory that it has.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Collection

from cloud_tasks.executors.child.main import TaskRunner, boot, take_own_session
from cloud_tasks.executors.child.socket_end import Socket
from cloud_tasks.executors.common import fork_protocol, protocol
from cloud_tasks.executors.common.call import exit_code, flush_streams
from cloud_tasks.executors.common.protocol import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: So often a function is called until Python has made of it what it can.
_REHEARSALS = 60
#: Milliseconds after which those that were killed are looked for again.
_PAUSE = 2


def main(descriptor: int, token: bytes, control: int, *, log: int | None = None) -> None:
    """Serve the worker until it closes: in the zygote, and in each process that it forks.

    Args:
        descriptor: our end of the socket for the boot.
        token: proves that a frame is ours.
        control: our end of the socket for births and deaths.
        log: where log records are sent, see ``log_sender``.

    Raises:
        SystemExit: in a forked process that can't end at once: end it with that code.
    """
    take_own_session(descriptor, control, log)
    # It has no task that anybody could mean to interrupt.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    exit_work = ExitWork()
    exit_work.take_over()
    words = Socket(descriptor, token, None)
    runner = boot(words, log)
    if runner is None:
        return
    for doubt in doubts():
        words.write(protocol.WARNING, doubt.encode())
    words.write(protocol.READY, b"")
    os.close(descriptor)
    runner.rehearse(_REHEARSALS)
    gc.collect()
    gc.freeze()  # a collection in a forked process would touch all of it, and so copy it
    # Kept, since a forked process that takes it apart would copy the memory where its parts were.
    zygote = _Zygote(socket.socket(fileno=control), runner)
    if zygote.serve():
        exit_work.begin_anew()
        _end(exit_work, _live(runner))


class _Zygote:
    """The loop: births on request, deaths as they come.

    What each forked process would do for itself is done here before the fork, where it can be: it
    copies whatever memory it writes to.
    """

    def __init__(self, control: socket.socket, runner: TaskRunner) -> None:
        self._run = os.environ[MARK].partition(".")[0]
        self._runner = runner
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        #: By serial: those that have not been reaped.
        self._pids: dict[int, int] = {}
        #: By the descriptor that tells the death.
        self._serials: dict[int, int] = {}
        self._leaving = False
        #: Tasks that have ended may have left some.
        self._orphans = False
        adopt()
        #: What the user's module started when it was imported.
        self._others = children()

    def serve(self) -> bool:
        """Work until the worker closes; True in each forked process."""
        while self._pids or not self._leaving:
            for descriptor, _ in self._poll.poll(_PAUSE if self._orphans else None):
                if descriptor == self._control.fileno():
                    if self._hear():
                        return True
                else:
                    self._tell_death(descriptor)
                    self._orphans = True
            if self._orphans:
                self._orphans = not end(self._others.union(self._pids.values()))
        return False

    def _hear(self) -> bool:
        words = fork_protocol.receive(self._control)
        if words is None:
            self._kill_all()
            return False
        kind, serial, buried, token, descriptor = words
        self._leaving = self._leaving or kind == fork_protocol.LEAVE
        if buried:
            os.waitpid(self._pids.pop(buried), 0)
        if descriptor is None:
            return False
        os.environ[MARK] = f"{self._run}.{serial}"
        os.set_inheritable(descriptor, False)
        self._runner.prepare_fork(Socket(descriptor, token, None))
        if self._fork(serial):
            return True
        os.close(descriptor)
        return False

    def _fork(self, serial: int) -> bool:
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(fork_protocol.FAILED, serial, error.errno or 0)
            return False
        if pid == 0:
            self._let_go()
            return True
        self._pids[serial] = pid
        watch = os.pidfd_open(pid)
        self._serials[watch] = serial
        self._poll.register(watch, select.POLLIN)
        self._tell(fork_protocol.FORKED, serial, pid)
        return False

    def _let_go(self) -> None:
        """Close, in a forked process, what belongs to the zygote."""
        for descriptor in (self._control.detach(), *self._serials):
            os.close(descriptor)

    def _tell_death(self, watch: int) -> None:
        serial = self._serials.pop(watch)
        # Left unreaped until the worker has killed the group: as long, the number is nobody else's.
        end = os.waitid(os.P_PID, self._pids[serial], os.WEXITED | os.WNOWAIT)
        assert end is not None
        code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        # The first thing: the slot's next task waits for it.
        self._tell(fork_protocol.DIED, serial, code)
        self._poll.unregister(watch)
        os.close(watch)

    def _tell(self, kind: int, serial: int, value: int) -> None:
        with contextlib.suppress(OSError):  # the worker is gone: the next look tells
            self._control.send(fork_protocol.message(kind, serial, value))

    def _kill_all(self) -> None:
        """The worker is gone: end what it has left here."""
        for pid in self._pids.values():
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(OSError):
                    kill(pid, signal.SIGKILL)
        os._exit(0)


def _live(runner: TaskRunner) -> int:
    """Be the process of one task; returns its exit code."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    adopt()
    renew_random_state()
    runner.crashes.catch()  # the fork has put an end to it
    try:
        runner.serve()
    except KeyboardInterrupt:
        os._exit(128 + signal.SIGINT)
    except SystemExit as error:
        return exit_code(error)
    return 0


def _end(exit_work: ExitWork, code: int) -> None:
    """End this process, as Python does in all that somebody could notice."""
    if any(not thread.daemon for thread in other_threads()):
        raise SystemExit(code)  # Python knows how to wait for them
    exit_work.run()
    processes = sys.modules.get("multiprocessing")
    if processes is not None:
        _wait_for(processes.active_children())
    flush_streams()
    os._exit(code)


def _wait_for(processes: list[Any]) -> None:
    """End what the task started through multiprocessing and left, as that does at its own end."""
    for process in processes:
        if process.daemon:
            process.terminate()
    for process in processes:
        process.join()


# MERGED: What a process does at its end, without the rest of what Python does there.
# MERGED:
# MERGED: Python takes all its modules apart, which costs a forked process several times as much
# MERGED: as its
# MERGED: whole life. This runs what was registered with ``atexit``, and nothing else.
if TYPE_CHECKING:
    from typing import Any, TypeVar

    _F = TypeVar("_F", bound=Callable[..., Any])
    _Entry = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class ExitWork:
    """Stands in for ``atexit`` in this process and in those that it forks."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []

    def take_over(self) -> None:
        """Have everybody register here who from now on asks the module."""
        # A process that ends as any other does comes here, too.
        atexit.register(self.run)
        atexit.register = self.register
        atexit.unregister = self.unregister

    def begin_anew(self) -> None:
        """Forget what was registered: it is the work of the process that this one was forked from.

        A folder that was made once must not be removed by everybody.
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

    def run(self) -> None:
        """Call all that is registered, the last first; what one raises is printed."""
        while self._entries:
            func, args, kwargs = self._entries.pop()
            try:
                func(*args, **kwargs)
            except BaseException:  # noqa: BLE001 - the user's functions, and no reason to stop here
                with contextlib.suppress(Exception):
                    sys.excepthook(*sys.exc_info())


# MERGED: Whether a process can be forked with what has been imported into it.
if TYPE_CHECKING:
    import threading

#: They start threads when they are imported, and know how to live with a fork.
_KNOWN_TO_COPE = ("numpy", "scipy")
_INSTEAD = "open it in the task, or use --executor spawn"


def doubts() -> list[str]:
    """Return what of this process will not work in a fork of it, as sentences."""
    found = []
    names = [thread.name for thread in other_threads()]
    native = _native_threads() - 1 - len(names)
    if names:
        found.append(
            f"importing your module started {_count(len(names))} ({', '.join(names[:3])}), which "
            "the processes of tasks will not have: start them in the task, or use "
            "--executor spawn"
        )
    if native > 0 and "grpc" in sys.modules:
        found.append(
            f"importing your module opened gRPC, which does not work in a fork: {_INSTEAD}"
        )
    elif native > 0 and not any(name in sys.modules for name in _KNOWN_TO_COPE):
        found.append(
            f"importing your module started {_count(native)} of C code, which the processes of "
            "tasks will not have: start them in the task, or use --executor spawn"
        )
    if _has_gpu():
        found.append(
            f"importing your module opened CUDA, which does not work in a fork: {_INSTEAD}"
        )
    return found


def other_threads() -> list[threading.Thread]:
    """Return the threads of Python beside the main one."""
    # Where nobody has imported it, there are none; and it has work to do after each fork.
    module = sys.modules.get("threading")
    if module is None:
        return []
    return [thread for thread in module.enumerate() if thread is not module.main_thread()]


def _count(n: int) -> str:
    return "a thread" if n == 1 else f"{n} threads"


def _native_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - imports little
    except OSError:
        return 1


def _has_gpu() -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - imports little
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}").startswith("/dev/nvidia"):  # noqa: PTH115
                    return True
    return False


def renew_random_state() -> None:
    """Give this process random numbers of its own, as a fresh import would.

    Python does so for ``random``. Generators that a module made at its import stay as they are.
    """
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # Where it is given none, it draws one in 0.1 ms.
        numpy_random.seed(struct.unpack("8I", os.urandom(32)))


# MERGED: Processes that lost their parent below this one: they become its children, and can be
# MERGED: ended.
# MERGED:
# MERGED: Linux gives an orphan to the nearest process above it that has asked for them. So what
# MERGED: a task
# MERGED: started in the manner of a daemon is found at the task's end.
_PR_SET_CHILD_SUBREAPER = 36


@functools.cache
def _prctl() -> Callable[..., int] | None:
    try:
        import ctypes

        call: Callable[..., int] = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None
    return call


def adopt() -> None:
    """Have orphans below this process become its children; nothing where that can't be."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """Return this process's children, zombies too; none where the kernel does not tell."""
    pid = os.getpid()
    try:
        descriptor = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return set()
    try:
        return set(map(int, os.read(descriptor, 2**20).split()))
    finally:
        os.close(descriptor)


def end(keep: Collection[int]) -> bool:
    """Kill and reap all children but those to *keep*; True if none of the others is left.

    Does not wait for their deaths, and whoever is killed may have forked just before: call it again
    until it says so.
    """
    strangers = children().difference(keep)
    for pid in strangers:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.waitpid(pid, os.WNOHANG)
    return not strangers
