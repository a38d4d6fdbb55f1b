"""Start, kill and reap the child processes of a pool, and send to them.

::

    start ─► launch ─► BOOT message ─► READY ... request_exit ─► EOF on its socket ─► it ends
                                             ... kill ─► SIGKILL to it and all below it
                                     death ─► reap ─► group killed, then reaped, then swept

A process is known by its serial, which is part of the mark in its environment: the watchdog and
the orphan killer find by it what a child has left behind. ``zygotes`` extends this class for
children that are forked. All of it is in the pool's thread.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.protocol import MARK
from cloud_tasks.executors.pool.boot_failures import BootFailures
from cloud_tasks.executors.pool.channel import Channel
from cloud_tasks.executors.pool.orphan_killer import OrphanKiller
from cloud_tasks.executors.pool.pipelining import open_permits
from cloud_tasks.executors.pool.poller import Poller
from cloud_tasks.executors.pool.shared_tracker import shared_tracker
from cloud_tasks.executors.pool.state import Child, ChildEvent, Descriptors, Handle, Slot, State
from cloud_tasks.executors.pool.watchdog import Lifeline, Watchdog
from cloud_tasks.system import processes
from cloud_tasks.system.shortage import wait_out

logger = logging.getLogger(__name__)

#: ``launch(child's end of the socket, cookie, other descriptors to inherit, environment)`` starts
#: a process that runs ``child.main`` there.
Launch = Callable[[socket.socket, bytes, Descriptors, dict[str, str]], Handle]

#: Seconds that importing the user's module may take.
BOOT_LIMIT = 600.0
#: Seconds that killed children may take to end when the pool closes.
_CLOSE_LIMIT = 5.0


def block_stop_signals() -> None:
    """Block stop signals in this thread, and so in children until these have their handlers."""
    signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
    )


class ChildProcesses:
    """All children of one pool.

    Args:
        boot: returns the first message to a child of a slot.
        environment: variables that children have beside those of the worker.
        lifeline: closes when the worker ends.
        page: descriptor of the flag page.
        log: descriptor that children send log records to; None: there is none.
        reused: children run job after job.

    Attributes:
        alive: all children that have not been reaped.
        by_socket: the children by the descriptor of their socket.
        by_watch: the children by the descriptor that reports their death.
    """

    def __init__(
        self,
        launch: Launch,
        boot: Callable[[int], protocol.BootMessage],
        poller: Poller,
        environment: Mapping[str, str],
        lifeline: Lifeline,
        page: int,
        log: int | None = None,
        *,
        reused: bool,
    ) -> None:
        self._launch = launch
        self._boot = boot
        self._poller = poller
        self._variables = environment
        self._lifeline = lifeline
        self._page = page
        self._log = log
        self._reused = reused
        self._run_id = secrets.token_hex(8)
        self._serials = itertools.count(1)
        self._watchdog = Watchdog(f"{MARK}={self._run_id}.", lifeline)
        self._watchdog_watch: int | None = None
        self._tracker = shared_tracker()
        self._tracker_watch: int | None = None
        self._tracker_requests: int | None = None
        self._orphan_killer = OrphanKiller(self._run_id)
        self.alive: set[Child] = set()
        self.by_socket: dict[int, Child] = {}
        self.by_watch: dict[int, Child] = {}
        self._boot_failures = BootFailures()
        self._warned: set[str] = set()

    def open(self) -> None:
        """Start the watchdog, and watch whether a child needs the resource tracker.

        Raises:
            OSError: no process or descriptor is to be had.
        """
        wait_out(self._watchdog.start, "no process could be started")
        self._watch_watchdog()
        self._watch_tracker()

    def _watch_watchdog(self) -> None:
        self._watchdog_watch = processes.open_death_watch(self._watchdog.pid)
        if self._watchdog_watch is not None:
            self._poller.add(self._watchdog_watch)

    def _unwatch_watchdog(self) -> None:
        if self._watchdog_watch is not None:
            self._poller.remove(self._watchdog_watch)
            os.close(self._watchdog_watch)
            self._watchdog_watch = None

    def handle_event(self, descriptor: int) -> list[tuple[Child, ChildEvent]]:
        """Handle a ready *descriptor* that is no child's; return what happened to children."""
        if descriptor == self._watchdog_watch:
            self._unwatch_watchdog()
            self._watchdog.replace_if_dead()
            self._watch_watchdog()
        elif descriptor in (self._tracker_watch, self._tracker_requests):
            self._unwatch_tracker()
            self._tracker.start_if_wanted()
            self._watch_tracker()
        return []

    def _watch_tracker(self) -> None:
        """Watch the end of the tracker, or if there is none, whether one is wanted."""
        self._tracker_requests = self._tracker.requests()
        if self._tracker_requests is not None:
            self._poller.add(self._tracker_requests)
            return
        pid = self._tracker.pid
        self._tracker_watch = None if pid is None else processes.open_death_watch(pid)
        if self._tracker_watch is not None:
            self._poller.add(self._tracker_watch)

    def _unwatch_tracker(self) -> None:
        if self._tracker_requests is not None:
            self._poller.remove(self._tracker_requests)
        if self._tracker_watch is not None:
            self._poller.remove(self._tracker_watch)
            os.close(self._tracker_watch)
        self._tracker_requests = self._tracker_watch = None

    def kill_stopped_watchdog(self) -> None:
        """Have a watchdog that was stopped replaced; any thread may call this."""
        self._watchdog.kill_if_stopped()

    # -- starting

    def start(self, slot: Slot) -> Child:
        """Start a process for *slot*; returns before it has booted.

        Raises:
            OSError: no process or descriptor is to be had.
        """
        permits = open_permits() if self._reused else None
        try:
            with self._lifeline.for_child() as lifeline:
                inherited = Descriptors(self._page, permits, self._log, lifeline.descriptor)
                child = self._launch_child(slot, inherited)
                assert child.handle.pid is not None
                lifeline.tie(child.handle.pid)
        except BaseException:
            if permits is not None:
                os.close(permits)
            raise
        child.permits = permits
        return child

    def _launch_child(self, slot: Slot, inherited: Descriptors) -> Child:
        serial = next(self._serials)
        cookie = secrets.token_bytes(protocol.COOKIE_BYTES)
        environment = {**self._variables, MARK: f"{self._run_id}.{serial}"}
        block_stop_signals()  # multiprocessing unblocks them when it starts its resource tracker
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                handle = self._launch(theirs, cookie, inherited, environment)
        except BaseException:
            ours.close()
            raise
        assert handle.pid is not None
        watch = processes.open_death_watch(handle.pid)
        child = Child(serial, slot, handle, Channel(ours, cookie), watch)
        self._watchdog.add(handle.pid)
        self._register(child)
        boot = pickle.dumps(self._boot(slot.index), protocol=pickle.HIGHEST_PROTOCOL)
        self.send(child, protocol.BOOT, (boot,))
        return child

    def _register(self, child: Child) -> None:
        child.deadline = time.monotonic() + BOOT_LIMIT
        self.alive.add(child)
        self._poller.add(child.channel.fileno())
        self.by_socket[child.channel.fileno()] = child
        if child.watch is not None:
            self._poller.add(child.watch)
            self.by_watch[child.watch] = child

    def send(self, child: Child, kind: int, bodies: Sequence[bytes]) -> None:
        """Send a frame for each of *bodies*; what the socket does not take follows later."""
        if not child.channel.send(kind, *bodies):
            self._poller.watch_write(child.channel.fileno(), True)

    def on_ready(self, child: Child) -> None:
        """Record that *child* has booted."""
        self._boot_failures.on_ready()

    def on_boot_failure(
        self, slot: Slot, reason: str, code: int | None, *, working: bool
    ) -> str | None:
        """Delay the slot's next process; return why the pool is broken, if it is.

        The arguments are those of ``BootFailures.record``.
        """
        broken = self._boot_failures.record(reason, code, working=working)
        slot.retry_at = self._boot_failures.retry_at
        return broken

    def warn_once(self, sentence: str) -> None:
        """Log a warning of a booting child, once however many children send it."""
        if sentence not in self._warned:
            self._warned.add(sentence)
            logger.warning(sentence)

    # -- ending

    def stop_listening(self, child: Child) -> None:
        """Read no more from the socket of *child*, which stays open."""
        if child.listening:
            child.listening = False
            del self.by_socket[child.channel.fileno()]
            self._poller.remove(child.channel.fileno())

    def request_exit(self, child: Child, grace: float) -> None:
        """Close the socket, at which *child* ends by itself; after *grace* seconds it is killed."""
        child.state = State.EXITING
        child.deadline = time.monotonic() + grace
        self.stop_listening(child)
        child.channel.close()

    def kill(self, child: Child) -> None:
        """Kill *child* with all processes below it, at once."""
        child.state = State.KILLED
        child.deadline = float("inf")
        pid = child.handle.pid
        if pid is not None:
            below = processes.descendants(pid)
            processes.kill_group(pid)
            processes.kill_all(below)
            self._orphan_killer.add_killed(p.pid for p in below)

    def reap(self, child: Child) -> int | None:
        """Release everything of a *child* that has ended; return its exit code.

        Its group is killed before it is reaped, while no other process can have its number.
        """
        pid = child.handle.pid
        if pid is not None:
            processes.kill_group(pid)
            self._watchdog.remove(pid)
        code = child.handle.exit_code()
        self.stop_listening(child)
        child.channel.close()
        if child.permits is not None:
            os.close(child.permits)
            child.permits = None
        if child.watch is not None:
            del self.by_watch[child.watch]
            self._poller.remove(child.watch)
            os.close(child.watch)
        self.alive.discard(child)
        if pid is not None:
            self._kill_orphans(child, pid)
        return code

    def _kill_orphans(self, child: Child, pid: int) -> None:
        """Have processes that *child* left behind found by its mark, and killed."""
        self._orphan_killer.add_dead(child.serial, pid)

    def dependents(self, child: Child) -> list[Child]:
        """Return the children that have died with *child*, which has been reaped."""
        return []

    def close(self) -> None:
        """Kill all children, and what they have left; blocks until they are gone."""
        for child in list(self.alive):
            self.kill(child)
        deadline = time.monotonic() + _CLOSE_LIMIT
        for child in list(self.alive):
            while child.handle.exit_code() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            with contextlib.suppress(OSError, KeyError):
                self.reap(child)
        self._orphan_killer.close()
        self._unwatch_tracker()
        self._tracker.start_if_wanted()
        self._unwatch_watchdog()
        self._watchdog.close()
