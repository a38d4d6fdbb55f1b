"""Ending what dead children have left behind in sessions of its own.

A child's process group dies with it. What its task put elsewhere still bears the child's mark
in its environment, and is looked for shortly after, in a thread of its own: reading
the environment of every process takes milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable

from cloud_tasks.executors.common.protocol import MARK
from cloud_tasks.system import processes
from cloud_tasks.system.processes import environments

#: Seconds from a death to the search: helpers such as multiprocessing's resource tracker notice
#: the end themselves, and clean up what a kill would leave.
_DELAY = 0.5
#: How often the last search looks while it still finds somebody: about two seconds. On a machine
#: that stands still for a moment a clock would go on, and who was killed could not end.
_LAST_LOOKS = 45


class Sweeper:
    """Searches in the background; *token* is the executor's."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._dead: set[str] = set()
        # What was killed lately takes a moment to be gone, in which it bears no mark any more.
        self._sessions: deque[int] = deque(maxlen=64)
        self._killed: deque[int] = deque(maxlen=256)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def killed(self, pids: Iterable[int]) -> None:
        """Wait for the end of *pids*, too, before all is called over."""
        self._killed.extend(pids)

    def bury(self, serial: int, pid: int) -> None:
        """The child *serial*, whose session and group were *pid*, is dead: end what it left."""
        with self._lock:
            self._sessions.append(pid)
            self._dead.add(str(serial))
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="cloud_tasks-sweeper", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError:
                    # The interpreter is ending (3.12+) or out of threads: `close` will search.
                    self._thread = None

    def _run(self) -> None:
        while not self._closing.wait(_DELAY):
            with self._lock:
                dead, self._dead = self._dead, set()
                if not dead:
                    self._thread = None
                    return
            found = self._kill(dead)
            with self._lock:
                # Whoever was killed just now may have forked meanwhile.
                self._dead |= found

    def _kill(self, dead: set[str] | None) -> set[str]:
        found: set[str] = set()
        try:
            marked = processes_marked(self._token)
        except OSError:  # no descriptor is left to look with: there may be one the next time
            return dead or found
        for pid, serial in marked.items():
            if dead is None or serial in dead:
                found.add(serial)
                self._killed.append(pid)
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        return found

    def close(self) -> None:
        """End everything that bears the executor's mark; blocks until it is gone."""
        self._closing.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        pause = 0.001
        for _ in range(_LAST_LOOKS):
            if not self._kill(None) and not self._lingers():
                return
            time.sleep(pause)  # until the kernel has done it
            pause = min(0.05, pause * 2)

    def _lingers(self) -> bool:
        try:
            sessions = processes.in_sessions(set(self._sessions))
            return any(processes.runs(pid) for pid in {*self._killed, *sessions})
        except OSError:
            return True  # for all that can be seen


def processes_marked(token: str) -> dict[int, str]:
    """Return the processes of the executor *token* by pid, each with the serial of its child.

    Raises:
        OSError: no descriptor is left to look with.
    """
    prefix = f"{MARK}={token}.".encode()
    found = {}
    for pid, environment in environments():
        at = environment.find(prefix)
        if at >= 0 and pid != os.getpid():
            serial = environment[at + len(prefix) :].partition(b"\0")[0]
            found[pid] = serial.decode("ascii", "replace")
    return found
