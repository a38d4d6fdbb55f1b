"""Fork the processes of tasks from zygotes: the pool's side.

A zygote is a process that has imported the user's module; it forks a fresh process for each task
of its slot, and runs none itself. ``child.zygote`` is its own side::

    start(slot) ─► zygote of the slot, started if there is none
                     │ FORK, with the new process's socket
                     ▼
                   FORKED ─► READY ... DIED ─► reap ─► REAP with the next FORK

A zygote boots as other children do, over its first socket, which is closed then. What it forks
needs no boot. Both report forks and deaths over the control socket, see ``fork_protocol``. The
watchdog does not know forked processes: if the worker is killed, the zygote kills them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
from typing import Any

from cloud_tasks.executors.common import fork_protocol, protocol
from cloud_tasks.executors.pool.boot_failures import ZYGOTE_LOST
from cloud_tasks.executors.pool.channel import Channel
from cloud_tasks.executors.pool.processes import ChildProcesses
from cloud_tasks.executors.pool.state import Child, ChildEvent, Descriptors, Handle, Slot, State
from cloud_tasks.system import processes


class _Zygote:
    """One zygote.

    Attributes:
        child: its process.
        control: the pool's end of the control socket.
        forked: the processes that it was asked for and that are not reaped, by serial.
        unreaped: serial of a process that the zygote may reap now; 0: there is none.
        orphans_of: its pid if it is dead and processes that bear its mark still run; else None.
        grace: seconds that it may take to end once the last of *forked* is reaped; None: it stays.
    """

    def __init__(self, child: Child, control: socket.socket) -> None:
        control.setblocking(False)
        self.child = child
        self.control = control
        self.forked: dict[int, Child] = {}
        self.unreaped = 0
        self.orphans_of: int | None = None
        self.grace: float | None = None


class _ForkedHandle:
    """The ``Handle`` of a process whose parent is a zygote.

    Attributes:
        code: its exit code, once known.
        reported: the zygote reported the code.
    """

    def __init__(self, zygote: Handle) -> None:
        self._zygote = zygote
        self.pid: int | None = None
        self.code: int | None = None
        self.reported = False

    def exit_code(self) -> int | None:
        """Return the code that the zygote reported; -9 if both have ended without a report."""
        if self.code is None and self._zygote.exit_code() is not None:
            ended = self.pid is None or not processes.runs(self.pid)
            self.code = -signal.SIGKILL if ended else None
        return self.code


class ForkingProcesses(ChildProcesses):
    """All zygotes of one pool, and the processes that they have forked."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._by_slot: dict[Slot, _Zygote] = {}
        self._by_control: dict[int, _Zygote] = {}
        self._by_child: dict[Child, _Zygote] = {}
        #: Forked processes that have died with their zygote, by that.
        self._dependents: dict[Child, list[Child]] = {}

    def start(self, slot: Slot) -> Child:
        """Ask the slot's zygote for a process; it counts as started from now on."""
        zygote = self._by_slot.get(slot) or self._start_zygote(slot)
        serial = next(self._serials)
        cookie = secrets.token_bytes(protocol.COOKIE_BYTES)
        ours, theirs = socket.socketpair()
        with theirs:
            message = fork_protocol.message(fork_protocol.FORK, serial, zygote.unreaped, cookie)
            try:
                socket.send_fds(zygote.control, [message], [theirs.fileno()])
            except BaseException:
                ours.close()
                raise
            zygote.unreaped = 0
        handle = _ForkedHandle(zygote.child.handle)
        child = Child(serial, slot, handle, Channel(ours, cookie), None)
        child.watched = True
        zygote.forked[serial] = child
        self._by_child[child] = zygote
        self._register(child)
        return child

    def _start_zygote(self, slot: Slot) -> _Zygote:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                child = self._launch_child(
                    slot, Descriptors(self._page, None, self._log, theirs.fileno())
                )
            except BaseException:
                ours.close()
                raise
        zygote = _Zygote(child, ours)
        self._by_slot[slot] = self._by_child[child] = zygote
        self._by_control[ours.fileno()] = zygote
        self._poller.add(ours.fileno())
        return zygote

    def on_ready(self, child: Child) -> None:
        """Record that *child* has booted; a zygote needs its first socket no more."""
        super().on_ready(child)
        if self._by_child[child].child is child:
            self.stop_listening(child)
            child.channel.close()

    # -- messages of zygotes

    def handle_event(self, descriptor: int) -> list[tuple[Child, ChildEvent]]:
        """Receive the messages of a zygote; return what happened to its children."""
        zygote = self._by_control.get(descriptor)
        if zygote is None:
            return super().handle_event(descriptor)
        found: list[tuple[Child, ChildEvent]] = []
        while True:
            try:
                packet = zygote.control.recv(fork_protocol.MESSAGE.size)
            except OSError:
                return found
            if not packet:
                # It ends; its death is reported elsewhere.
                self._poller.remove(descriptor)
                del self._by_control[descriptor]
                return found
            kind, serial, value, _ = fork_protocol.MESSAGE.unpack(packet)
            found += self._on_message(zygote.forked[serial], kind, value)

    def _on_message(self, child: Child, kind: int, value: int) -> list[tuple[Child, ChildEvent]]:
        handle = child.handle
        assert isinstance(handle, _ForkedHandle)
        if kind == fork_protocol.FORKED:
            handle.pid = value
            if child.state is not State.KILLED:
                return [(child, ChildEvent.FORKED)]
            processes.kill_group(value)
            return []
        if kind == fork_protocol.FAILED:
            error = OSError(value, os.strerror(value))
            child.boot_error = f"no process could be forked: {error}"
        else:
            handle.code, handle.reported = value, True
        return [(child, ChildEvent.DIED)]

    def _notify(self, zygote: _Zygote, kind: int) -> None:
        """Send a message that needs no reply, with the serial of a process to reap."""
        # If the zygote is gone, init reaps the process.
        with contextlib.suppress(OSError):
            zygote.control.send(fork_protocol.message(kind, 0, zygote.unreaped))
        zygote.unreaped = 0

    # -- ending

    def request_exit(self, child: Child, grace: float) -> None:
        """Have *child* end by itself; a zygote ends after all that it has forked."""
        zygote = self._by_child[child]
        if zygote.child is not child:
            super().request_exit(child, grace)
        elif zygote.forked:
            zygote.grace = grace
        else:
            self._request_zygote_exit(zygote, grace)

    def _request_zygote_exit(self, zygote: _Zygote, grace: float) -> None:
        self._notify(zygote, fork_protocol.EXIT)
        super().request_exit(zygote.child, grace)

    def reap(self, child: Child) -> int | None:
        """Release everything of a *child* that has ended; return its exit code."""
        zygote = self._by_child[child]
        code = super().reap(child)
        del self._by_child[child]
        if zygote.child is child:
            self._release_zygote(zygote)
            return code
        del zygote.forked[child.serial]
        if zygote.child not in self._by_child:
            return self._code_without_zygote(child, zygote)
        if zygote.unreaped:
            self._notify(zygote, fork_protocol.REAP)
        if child.handle.pid is not None:
            # Mostly it is reaped with the next FORK, so that the zygote wakes up once for both.
            zygote.unreaped = child.serial
        if zygote.grace is not None and not zygote.forked:
            self._request_zygote_exit(zygote, zygote.grace)
        return code

    def _kill_orphans(self, child: Child, pid: int) -> None:
        zygote = self._by_child[child]
        if zygote.child is child and zygote.forked:
            zygote.orphans_of = pid  # not before the last of them is reaped: they bear its mark
        else:
            super()._kill_orphans(child, pid)

    def _code_without_zygote(self, child: Child, zygote: _Zygote) -> int | None:
        """Return the exit code of a reaped *child* whose zygote is dead; None: unknown."""
        assert isinstance(child.handle, _ForkedHandle)
        if not zygote.forked and zygote.orphans_of is not None:
            super()._kill_orphans(zygote.child, zygote.orphans_of)
        if not child.handle.reported:
            child.boot_error = ZYGOTE_LOST
            return None
        return child.handle.code

    def _release_zygote(self, zygote: _Zygote) -> None:
        """Release a dead zygote; running processes that it forked go on, booting ones do not."""
        descriptor = zygote.control.fileno()
        if descriptor in self._by_control:
            self.handle_event(descriptor)  # its last messages
        if self._by_control.pop(descriptor, None) is not None:
            self._poller.remove(descriptor)
        del self._by_slot[zygote.child.slot]
        zygote.control.close()
        zygote.grace = None
        self._dependents[zygote.child] = [
            child for child in zygote.forked.values() if not self._watch_without_zygote(child)
        ]

    def _watch_without_zygote(self, child: Child) -> bool:
        """Watch a *child* whose zygote is dead; False: it has ended, or was killed."""
        pid = child.handle.pid
        if pid is None or child.handle.exit_code() is not None:
            return False
        watch = None if child.state is State.BOOTING else processes.open_death_watch(pid)
        if watch is None:
            processes.kill_group(pid)
            return False
        child.watch = watch
        self.by_watch[watch] = child
        self._poller.add(watch)
        return True

    def dependents(self, child: Child) -> list[Child]:
        """Return the forked processes that have died with *child*, a zygote."""
        return self._dependents.pop(child, [])
