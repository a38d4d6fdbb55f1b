"""Kill the processes that dead children have left behind in other process groups.

A child's own group is killed with it. Processes that its task moved to other sessions still have
the child's mark in their environment, and are searched for half a second later, in a background
thread, because reading the environment of every process takes milliseconds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable

from cloud_tasks.executors.common.protocol import MARK
from cloud_tasks.system import processes

logger = logging.getLogger(__name__)

#: Seconds from a death to the search: helpers such as multiprocessing's resource tracker end by
#: themselves, and clean up what a kill would leave.
_DELAY = 0.5
#: How often ``close`` searches while it still finds processes, in about two seconds. Counted, not
#: timed: while a machine is suspended its clock goes on, and killed processes can't end.
_LAST_SEARCHES = 45


class OrphanKiller:
    """Searches in the background for the pool with the mark *run_id*."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._dead: set[str] = set()
        # A process killed lately exists a moment longer, but without its environment.
        self._sessions: deque[int] = deque(maxlen=64)
        self._killed: deque[int] = deque(maxlen=256)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add_killed(self, pids: Iterable[int]) -> None:
        """Have ``close`` wait for the end of *pids*, too."""
        self._killed.extend(pids)

    def add_dead(self, serial: int, pid: int) -> None:
        """Kill the processes left by the child *serial*, whose session and group were *pid*."""
        with self._lock:
            self._sessions.append(pid)
            self._dead.add(str(serial))
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="cloud_tasks-orphan-killer", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError:
                    # The interpreter is ending (3.12+) or out of threads: close() will search.
                    self._thread = None

    def _run(self) -> None:
        try:
            self._search_until_idle()
        except BaseException:
            logger.exception("searching for processes that dead children left failed")
            with self._lock:
                self._thread = None  # the next death starts another; close() searches as well

    def _search_until_idle(self) -> None:
        while not self._closing.wait(_DELAY):
            with self._lock:
                dead, self._dead = self._dead, set()
                if not dead:
                    self._thread = None
                    return
            found = self._kill(dead)
            with self._lock:
                # A process may have forked another before it was killed: search again.
                self._dead |= found

    def _kill(self, dead: set[str] | None) -> set[str]:
        """Kill processes of the *dead* serials, None: of all; return the serials found."""
        found: set[str] = set()
        try:
            marked = processes_marked(self._run_id)
        except OSError:  # no descriptor is left; there may be one the next time
            return dead or found
        for pid, serial in marked.items():
            if dead is None or serial in dead:
                found.add(serial)
                self._killed.append(pid)
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        return found

    def close(self) -> None:
        """Kill every process that bears the pool's mark; blocks until they are gone."""
        self._closing.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        pause = 0.001
        for _ in range(_LAST_SEARCHES):
            if not self._kill(None) and not self._still_runs():
                return
            time.sleep(pause)  # until the kernel has done it
            pause = min(0.05, pause * 2)

    def _still_runs(self) -> bool:
        try:
            sessions = processes.in_sessions(set(self._sessions))
            return any(processes.runs(pid) for pid in {*self._killed, *sessions})
        except OSError:
            return True  # no descriptor is left to check with


def processes_marked(run_id: str) -> dict[int, str]:
    """Return the processes of the pool *run_id*: the serial of its child by pid.

    Raises:
        OSError: no descriptor is left to search with.
    """
    prefix = f"{MARK}={run_id}.".encode()
    found = {}
    for pid, environment in processes.environments():
        at = environment.find(prefix)
        if at >= 0 and pid != os.getpid():
            serial = environment[at + len(prefix) :].partition(b"\0")[0]
            found[pid] = serial.decode("ascii", "replace")
    return found
