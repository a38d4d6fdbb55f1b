"""Run a small process that kills the children if the worker itself is killed.

It reads ``+pid`` and ``-pid`` lines from a pipe whose other end only the worker holds, and ends at
``q``. If the pipe closes without it, the worker is dead: the process kills all groups on its list,
then every process that bears the pool's mark in its environment, and removes the flag file.

A parent-death signal would not reach grandchildren; a thread in the child would not run while C
code holds the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading

_SCRIPT = r"""
import os, signal, sys, time
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
flag_file, mark = sys.argv[1], sys.argv[2].encode()
groups, rest = set(), b""
while True:
    part = os.read(0, 65536)
    if not part:
        break
    *lines, rest = (rest + part).split(b"\n")
    for line in lines:
        if line == b"q":
            os._exit(0)
        (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
def kill(call, pid):
    try:
        call(pid, signal.SIGKILL)
    except OSError:
        pass
for group in groups:
    kill(os.killpg, group)
    kill(os.kill, group)
deadline = time.monotonic() + 2
while time.monotonic() < deadline:
    found = False
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open("/proc/" + name + "/environ", "rb") as file:
                    if mark not in file.read():
                        continue
            except OSError:
                continue
            found = True
            kill(os.kill, int(name))
    if not found:
        break
    time.sleep(0.02)
try:
    os.unlink(flag_file)
except OSError:
    pass
"""


class Watchdog:
    """The watchdog process, as the pool sees it; replaced if it is killed.

    Args:
        flag_file: removed if the worker is killed.
        mark: beginning of the environment entry that all children have.
    """

    def __init__(self, flag_file: str, mark: str) -> None:
        self._flag_file = flag_file
        self._mark = mark
        self._groups: set[int] = set()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes]
        self._closed = False

    def start(self) -> None:
        """Start the process; costs about 10 ms of CPU, none of it the worker's.

        Raises:
            OSError: no process or descriptor is to be had.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _SCRIPT, self._flag_file, self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            cwd="/",
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin

    def add(self, pid: int) -> None:
        """Have the group of *pid* killed if the worker dies."""
        with self._lock:
            self._groups.add(pid)
            self._send(b"+%d\n" % pid)

    def remove(self, pid: int) -> None:
        """Remove the group of *pid*, which has ended: its number may be reused."""
        with self._lock:
            if pid in self._groups:
                self._groups.discard(pid)
                self._send(b"-%d\n" % pid)

    @property
    def pid(self) -> int:
        """The process id of the watchdog."""
        return self._process.pid

    def replace_if_dead(self) -> None:
        """Start another process if this one has died and was not replaced yet."""
        with self._lock:
            # A living one must keep its pipe: when that closes, it kills all children.
            if not self._closed and self._process.poll() is not None:
                self._replace()

    def _send(self, line: bytes) -> None:
        if self._closed:
            return
        try:
            self._pipe.write(line)
        except (OSError, ValueError):  # dead, or closed after an attempt to replace it failed
            self._replace()

    def _replace(self) -> None:
        self._reap()
        with contextlib.suppress(OSError):  # the next line tries again
            self.start()
            self._pipe.write(b"".join(b"+%d\n" % pid for pid in self._groups))

    def _reap(self) -> None:
        self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)

    def close(self) -> None:
        """End the process, which kills nothing; waits for its end."""
        with self._lock:
            if self._closed:
                return
            self._send(b"q\n")
            self._closed = True
            self._reap()
