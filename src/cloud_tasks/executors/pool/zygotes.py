"""The worker's side of zygotes: one a slot, and the processes that they have forked.

A zygote is a child as others are, but is given no task, and its socket is there until it has
booted only. What it forks are children without a boot. Their births and deaths are told over a
second socket, see ``birth``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
from typing import Any

from cloud_tasks.executors.common import fork_protocol, protocol
from cloud_tasks.executors.pool.channel import Channel
from cloud_tasks.executors.pool.processes import ChildProcesses
from cloud_tasks.executors.pool.state import Child, Descriptors, Handle, News, Slot, State
from cloud_tasks.system import processes


class _Zygote:
    """One zygote.

    Attributes:
        child: its process.
        control: our end of the socket for births and deaths.
        forked: the processes that it was asked for and that are not buried, by serial.
        unreaped: one that is buried, and that it need not keep any longer; 0: there is none.
        left: its number, if it is buried and others that bear its mark are not.
        grace: how long it may take to end once the last of them is buried; None: it is to stay.
    """

    def __init__(self, child: Child, control: socket.socket) -> None:
        control.setblocking(False)
        self.child = child
        self.control = control
        self.forked: dict[int, Child] = {}
        self.unreaped = 0
        self.left: int | None = None
        self.grace: float | None = None


class _Forked:
    """The ``Handle`` of a process whose parent is a zygote."""

    def __init__(self, zygote: Handle) -> None:
        self._zygote = zygote
        self.pid: int | None = None
        self.code: int | None = None
        #: The code is what the zygote told.
        self.told = False

    def exit_code(self) -> int | None:
        """Return what the zygote told, or once that is gone, what can be seen."""
        if self.code is None and self._zygote.exit_code() is not None:
            ended = self.pid is None or not processes.runs(self.pid)
            self.code = -signal.SIGKILL if ended else None
        return self.code


class ForkingNursery(ChildProcesses):
    """All zygotes of one pool, and what they have forked."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._by_slot: dict[Slot, _Zygote] = {}
        self._by_control: dict[int, _Zygote] = {}
        self._by_child: dict[Child, _Zygote] = {}
        #: What each zygote that is dead had forked.
        self._lost: dict[Child, list[Child]] = {}

    def start(self, slot: Slot) -> Child:
        """Ask the slot's zygote for a process; there is one from now on."""
        zygote = self._by_slot.get(slot) or self._start_zygote(slot)
        serial = next(self._serials)
        token = secrets.token_bytes(protocol.COOKIE_BYTES)
        ours, theirs = socket.socketpair()
        with theirs:
            words = fork_protocol.message(fork_protocol.FORK, serial, zygote.unreaped, token)
            try:
                socket.send_fds(zygote.control, [words], [theirs.fileno()])
            except BaseException:
                ours.close()
                raise
            zygote.unreaped = 0
        child = Child(serial, slot, _Forked(zygote.child.handle), Channel(ours, token), None)
        child.watched = True
        zygote.forked[serial] = child
        self._by_child[child] = zygote
        self._take_in(child)
        return child

    def _start_zygote(self, slot: Slot) -> _Zygote:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                child = self._launched(slot, Descriptors(None, self._log, theirs.fileno()))
            except BaseException:
                ours.close()
                raise
        zygote = _Zygote(child, ours)
        self._by_slot[slot] = self._by_child[child] = zygote
        self._by_control[ours.fileno()] = zygote
        self._poller.add(ours.fileno())
        return zygote

    def attend(self, descriptor: int) -> list[tuple[Child, News]]:
        """Hear what a zygote tells."""
        zygote = self._by_control.get(descriptor)
        if zygote is None:
            return super().attend(descriptor)
        found: list[tuple[Child, News]] = []
        while True:
            try:
                packet = zygote.control.recv(fork_protocol.MESSAGE.size)
            except OSError:
                return found
            if not packet:
                # Its death tells the rest.
                self._poller.remove(descriptor)
                del self._by_control[descriptor]
                return found
            kind, serial, value, _ = fork_protocol.MESSAGE.unpack(packet)
            found += self._hear(zygote.forked[serial], kind, value)

    def _hear(self, child: Child, kind: int, value: int) -> list[tuple[Child, News]]:
        handle = child.handle
        assert isinstance(handle, _Forked)
        if kind == fork_protocol.FORKED:
            # The guardian is not told: if the worker is killed, the zygote ends what it has forked.
            handle.pid = value
            if child.state is not State.DOOMED:
                return [(child, News.BORN)]
            processes.kill_group(value)
            return []
        if kind == fork_protocol.FAILED:
            child.complaint = f"no process could be forked: {os.strerror(value)}"
        else:
            handle.code, handle.told = value, True
        return [(child, News.DEAD)]

    def dismiss(self, child: Child, grace: float) -> None:
        """Ask it to end by itself; a zygote, when all that it has forked have ended."""
        zygote = self._by_child[child]
        if zygote.child is not child:
            super().dismiss(child, grace)
        elif zygote.forked:
            zygote.grace = grace
        else:
            self._send_off(zygote, grace)

    def _send_off(self, zygote: _Zygote, grace: float) -> None:
        self._tell(zygote, fork_protocol.EXIT)
        super().dismiss(zygote.child, grace)

    def booted(self, child: Child) -> None:
        """Note that *child* got ready; a zygote has no use for its first socket any more."""
        super().booted(child)
        if self._by_child[child].child is child:
            self.stop_listening(child)
            child.channel.close()

    def bury(self, child: Child) -> int | None:
        """Let go of a child that has ended; returns its exit code."""
        zygote = self._by_child[child]
        code = super().bury(child)
        del self._by_child[child]
        if zygote.child is child:
            self._forget_zygote(zygote)
            return code
        del zygote.forked[child.serial]
        if zygote.child not in self._by_child:
            return self._code_of_lost(child, zygote)
        if zygote.unreaped:
            self._tell(zygote, fork_protocol.REAP)
        if child.handle.pid is not None:
            # Mostly it is reaped with the next birth: one message, one look of the zygote.
            zygote.unreaped = child.serial
        if zygote.grace is not None and not zygote.forked:
            self._send_off(zygote, zygote.grace)
        return code

    def _sweep(self, child: Child, pid: int) -> None:
        zygote = self._by_child[child]
        if zygote.child is child and zygote.forked:
            zygote.left = pid  # until the last of them is buried: they bear its mark
        else:
            super()._sweep(child, pid)

    def _code_of_lost(self, child: Child, zygote: _Zygote) -> int | None:
        assert isinstance(child.handle, _Forked)
        if not zygote.forked and zygote.left is not None:
            super()._sweep(zygote.child, zygote.left)
        if not child.handle.told:
            child.complaint = "its zygote was lost"
            return None  # nobody knows it
        return child.handle.code

    def _forget_zygote(self, zygote: _Zygote) -> None:
        """What it has forked lives on, but for those that were on their way."""
        descriptor = zygote.control.fileno()
        if descriptor in self._by_control:
            self.attend(descriptor)  # what it told last
        if self._by_control.pop(descriptor, None) is not None:
            self._poller.remove(descriptor)
        del self._by_slot[zygote.child.slot]
        zygote.control.close()
        zygote.grace = None
        self._lost[zygote.child] = [
            child for child in zygote.forked.values() if not self._watches_itself(child)
        ]

    def _watches_itself(self, child: Child) -> bool:
        """Watch a child whose zygote is gone; False: it has ended, or has to."""
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

    def _tell(self, zygote: _Zygote, kind: int) -> None:
        """Send a message that needs no answer."""
        with contextlib.suppress(OSError):  # it is gone, and the zombie somebody else's
            zygote.control.send(fork_protocol.message(kind, 0, zygote.unreaped))
        zygote.unreaped = 0

    def dependents(self, child: Child) -> list[Child]:
        """Return what a zygote, which has been buried, had forked."""
        return self._lost.pop(child, [])
