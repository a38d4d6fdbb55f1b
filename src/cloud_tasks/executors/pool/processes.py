"""Starting child processes and burying them: the housekeeping around every one of them."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import secrets
import socket
import time
from collections.abc import Callable, Mapping

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.protocol import MARK
from cloud_tasks.executors.pool.channel import Channel
from cloud_tasks.executors.pool.orphan_killer import Sweeper
from cloud_tasks.executors.pool.poller import Poller
from cloud_tasks.executors.pool.state import Child, Descriptors, Handle, News, Slot, State
from cloud_tasks.executors.pool.watchdog import Guardian
from cloud_tasks.system import processes

logger = logging.getLogger(__name__)

#: ``launch(child's end of the socket, token, what else it inherits, environment)`` starts a
#: process that runs ``child.main`` there.
Launch = Callable[[socket.socket, bytes, Descriptors, dict[str, str]], Handle]

#: Seconds until the first repeat after a child died at boot; doubles up to the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
#: So many deaths at boot in a row, and nothing will ever run.
MAX_BOOT_DEATHS = 5
#: Seconds that importing the user's module may take.
BOOT_LIMIT = 600.0


class ChildProcesses:
    """All children of one pool.

    Args:
        launch: starts a process.
        boot: returns the first message to a child of a slot.
        reused: children take task after task.
        poller: gets every child's descriptors.
        flag_file: removed by the guardian if the worker is killed.
        environment: variables that children have beside ours.
        log: where children send their log records; None: nowhere.

    Attributes:
        by_socket: the children by the descriptor of their socket.
        by_watch: the children by the descriptor that tells their death.
        boot_deaths: how many in a row ended before they were ready.
    """

    def __init__(
        self,
        launch: Launch,
        boot: Callable[[int], protocol.BootMessage],
        poller: Poller,
        flag_file: str,
        environment: Mapping[str, str],
        log: int | None = None,
        *,
        reused: bool,
    ) -> None:
        self._launch = launch
        self._additions = environment
        self._log = log
        self._boot = boot
        self._reused = reused
        self._poller = poller
        self._run_token = secrets.token_hex(8)
        self._serials = itertools.count(1)
        self._guardian = Guardian(flag_file, f"{MARK}={self._run_token}.")
        self._sweeper = Sweeper(self._run_token)
        self.by_socket: dict[int, Child] = {}
        self.by_watch: dict[int, Child] = {}
        self.boot_deaths = 0
        self._alive: set[Child] = set()
        self._warnings: set[str] = set()
        self._guardian_watch: int | None = None

    def open(self) -> None:
        """Start the guardian.

        Raises:
            OSError: no process or descriptor is to be had.
        """
        self._guardian.start()
        self._watch_guardian()

    def _watch_guardian(self) -> None:
        self._guardian_watch = processes.open_death_watch(self._guardian.pid)
        if self._guardian_watch is not None:
            self._poller.add(self._guardian_watch)

    def attend(self, descriptor: int) -> list[tuple[Child, News]]:
        """React to *descriptor* if it is one of ours; returns what came of it."""
        if descriptor == self._guardian_watch:
            self._forget_guardian()
            self._guardian.stand_in()
            self._watch_guardian()
        return []

    def _forget_guardian(self) -> None:
        if self._guardian_watch is not None:
            self._poller.remove(self._guardian_watch)
            os.close(self._guardian_watch)
            self._guardian_watch = None

    @property
    def alive(self) -> set[Child]:
        """All children that have not been buried."""
        return self._alive

    def start(self, slot: Slot) -> Child:
        """Start a process for *slot*; returns before it is booted.

        Raises:
            OSError: no process or descriptor is to be had.
        """
        tokens = _make_tokens() if self._reused else None
        try:
            child = self._launched(slot, Descriptors(tokens, self._log))
        except BaseException:
            if tokens is not None:
                os.close(tokens)
            raise
        child.tokens = tokens
        return child

    def _launched(self, slot: Slot, inherited: Descriptors) -> Child:
        """Start a process and tell it how to boot."""
        serial = next(self._serials)
        token = secrets.token_bytes(protocol.COOKIE_BYTES)
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                handle = self._launch(theirs, token, inherited, self._environment(serial))
        except BaseException:
            ours.close()
            raise
        assert handle.pid is not None
        watch = processes.open_death_watch(handle.pid)
        child = Child(serial, slot, handle, Channel(ours, token), watch)
        self._guardian.watch(handle.pid)
        self._take_in(child)
        boot = pickle.dumps(self._boot(slot.index), protocol=pickle.HIGHEST_PROTOCOL)
        if not child.channel.send(protocol.BOOT, boot):
            self._poller.watch_write(child.channel.fileno(), True)
        return child

    def _take_in(self, child: Child) -> None:
        child.deadline = time.monotonic() + BOOT_LIMIT
        self._alive.add(child)
        self._listen(child)

    def _environment(self, serial: int) -> dict[str, str]:
        return {**self._additions, MARK: f"{self._run_token}.{serial}"}

    def _listen(self, child: Child) -> None:
        self._poller.add(child.channel.fileno())
        self.by_socket[child.channel.fileno()] = child
        if child.watch is not None:
            self._poller.add(child.watch)
            self.by_watch[child.watch] = child

    def stop_listening(self, child: Child) -> None:
        """Hear no more from its socket, which stays open."""
        if child.listening:
            child.listening = False
            del self.by_socket[child.channel.fileno()]
            self._poller.remove(child.channel.fileno())

    def dismiss(self, child: Child, grace: float) -> None:
        """Ask it to end by itself within *grace* seconds."""
        child.state = State.LEAVING
        child.deadline = time.monotonic() + grace
        self.stop_listening(child)
        child.channel.close()

    def kill(self, child: Child) -> None:
        """Kill it with everything below it, at once."""
        child.state = State.DOOMED
        child.deadline = float("inf")
        pid = child.handle.pid
        if pid is not None:
            below = processes.descendants(pid)
            processes.kill_group(pid)
            processes.kill_all(below)
            self._sweeper.killed(p.pid for p in below)

    def bury(self, child: Child) -> int | None:
        """Let go of a child that has ended; returns its exit code.

        Its group is killed before it is reaped, while its number can't be anybody else's.
        """
        pid = child.handle.pid
        if pid is not None:
            processes.kill_group(pid)
            self._guardian.forget(pid)
        code = child.handle.exit_code()
        self.stop_listening(child)
        child.channel.close()
        if child.tokens is not None:
            os.close(child.tokens)
            child.tokens = None
        if child.watch is not None:
            del self.by_watch[child.watch]
            self._poller.remove(child.watch)
            os.close(child.watch)
        self._alive.discard(child)
        if pid is not None:
            self._sweep(child, pid)
        return code

    def _sweep(self, child: Child, pid: int) -> None:
        """Have what it left behind found, by its mark."""
        self._sweeper.bury(child.serial, pid)

    def dependents(self, child: Child) -> list[Child]:
        """Return the children that have ended with *child*, which has been buried."""
        return []

    def warn(self, sentence: str) -> None:
        """Say what a child says of its boot, once, however many children do."""
        if sentence not in self._warnings:
            self._warnings.add(sentence)
            logger.warning(sentence)

    def booted(self, child: Child) -> None:
        """Note that *child* got ready."""
        self.boot_deaths = 0

    def boot_failed(self, slot: Slot, reason: str) -> str | None:
        """Note a death at boot: the slot's next process has to wait, longer each time.

        Returns why no child ever will get ready, once that is so.
        """
        last_line = reason.strip().rpartition("\n")[2]
        # The whole traceback once is enough.
        logger.warning(
            "a child process did not get ready: %s", last_line if self.boot_deaths else reason
        )
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**self.boot_deaths)
        slot.retry_at = time.monotonic() + pause
        self.boot_deaths += 1
        if self.boot_deaths < MAX_BOOT_DEATHS:
            return None
        return f"{MAX_BOOT_DEATHS} child processes in a row did not get ready: {last_line}"

    def close(self) -> None:
        """Kill whoever is left, and what they left; blocks until they are gone."""
        for child in list(self._alive):
            self.kill(child)
        deadline = time.monotonic() + 5
        for child in list(self._alive):
            while child.handle.exit_code() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            with contextlib.suppress(OSError, KeyError):
                self.bury(child)
        self._sweeper.close()
        self._forget_guardian()
        self._guardian.close()


def _make_tokens() -> int | None:
    """Return an eventfd that counts down by one at each read; None where there is no such thing."""
    if not hasattr(os, "eventfd"):
        return None
    return os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)
