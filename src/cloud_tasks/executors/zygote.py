"""What runs in a zygote: it boots once, then forks a fresh process for each task.

Started by :mod:`~cloud_tasks.executors.forkserver`. It runs no task, starts no thread, and
imports little: each fork copies the tables of all the memory that it has.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys

from cloud_tasks.executors import birth, orphans, wire
from cloud_tasks.executors.call import exit_code, flush_streams
from cloud_tasks.executors.child import TaskRunner, boot, take_own_session
from cloud_tasks.executors.child_socket import Socket
from cloud_tasks.executors.exit_work import ExitWork
from cloud_tasks.executors.fork_safety import doubts, other_threads, renew_random_state

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
        words.write(wire.WARNING, doubt.encode())
    words.write(wire.READY, b"")
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
        self._run = os.environ[orphans.MARK].partition(".")[0]
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
        orphans.adopt()
        #: What the user's module started when it was imported.
        self._others = orphans.children()

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
                self._orphans = not orphans.end(self._others.union(self._pids.values()))
        return False

    def _hear(self) -> bool:
        words = birth.receive(self._control)
        if words is None:
            self._kill_all()
            return False
        kind, serial, buried, token, descriptor = words
        self._leaving = self._leaving or kind == birth.LEAVE
        if buried:
            os.waitpid(self._pids.pop(buried), 0)
        if descriptor is None:
            return False
        os.environ[orphans.MARK] = f"{self._run}.{serial}"
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
            self._tell(birth.FAILED, serial, error.errno or 0)
            return False
        if pid == 0:
            self._let_go()
            return True
        self._pids[serial] = pid
        watch = os.pidfd_open(pid)
        self._serials[watch] = serial
        self._poll.register(watch, select.POLLIN)
        self._tell(birth.FORKED, serial, pid)
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
        self._tell(birth.DIED, serial, code)
        self._poll.unregister(watch)
        os.close(watch)

    def _tell(self, kind: int, serial: int, value: int) -> None:
        with contextlib.suppress(OSError):  # the worker is gone: the next look tells
            self._control.send(birth.message(kind, serial, value))

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
    orphans.adopt()
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
