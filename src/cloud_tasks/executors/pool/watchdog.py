"""See that the children end if the worker itself is killed.

A small process, the watchdog, reads ``+pid`` and ``-pid`` lines from a pipe whose other end only
the worker holds, and ends at ``q``. If the pipe closes without it, the worker is dead: the watchdog
kills all groups on its list, then every process that bears the pool's mark in its environment.

The lifeline is for the case that both are killed together. The worker alone holds the writing end
of a pipe, and writes nothing. Each child holds a descriptor of the other end, of its own, for which
the kernel sends SIGKILL to the child's process group when something happens there; nothing can, but
the end of the worker. A parent-death signal would not do: it is tied to the thread that started the
child, and reaches the child alone. Nor would a thread in it that reads: C code may hold the
interpreter's lock. Zygotes see the end of their socket instead, and kill what they have forked.

Processes in other sessions are then killed by the watchdog's deputy, by their mark. It is forked
from the watchdog, waits for the end of the lifeline, and continues a watchdog that was stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

logger = logging.getLogger(__name__)

_SCRIPT = r"""
import os, signal, sys, time
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGPIPE"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
mark, lifeline = sys.argv[1].encode(), [int(word) for word in sys.argv[2:]]
def kill(call, pid):
    try:
        call(pid, signal.SIGKILL)
    except OSError:
        pass
def kill_marked():
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
deputy = 0
if lifeline:
    watchdog = os.getpid()
    deputy = os.fork()
    if not deputy:
        os.close(0)
        os.read(lifeline[0], 1)
        if os.getppid() == watchdog:
            os.kill(watchdog, signal.SIGCONT)
        kill_marked()
        os._exit(0)
    os.close(lifeline[0])
groups, rest = set(), b""
while True:
    part = os.read(0, 65536)
    if not part:
        break
    *lines, rest = (rest + part).split(b"\n")
    for line in lines:
        if line == b"q":
            if deputy:
                kill(os.kill, deputy)
                os.waitpid(deputy, 0)
            os._exit(0)
        (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
for group in groups:
    kill(os.killpg, group)
    kill(os.kill, group)
kill_marked()
"""


class Lifeline:
    """A pipe that closes when this process ends, whatever way it does.

    Attributes:
        descriptor: the end that is read from.

    Raises:
        OSError: no descriptor is to be had.
    """

    def __init__(self) -> None:
        self._ends: tuple[int, ...] = os.pipe()
        self.descriptor = self._ends[0]

    @contextlib.contextmanager
    def for_child(self) -> Iterator[ChildLifeline]:
        """Open the end for a child that is started in the block, and inherits it."""
        import fcntl  # not on every platform

        descriptor = None
        # Linux alone has the signal, and /proc.
        if hasattr(fcntl, "F_SETSIG"):
            with contextlib.suppress(FileNotFoundError, PermissionError):
                descriptor = os.open(
                    f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
                )
        try:
            yield ChildLifeline(descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def close(self) -> None:
        """Kill every process group that is tied to it."""
        ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)


class ChildLifeline:
    """The *descriptor* that one child inherits; None: this platform has no such signal."""

    def __init__(self, descriptor: int | None) -> None:
        self.descriptor = descriptor

    def tie(self, pid: int) -> None:
        """Have the process group of the child *pid* killed when this process ends.

        Before that, the child's own reading from its socket finds out.
        """
        if self.descriptor is not None:
            import fcntl

            with contextlib.suppress(OSError):  # a sandbox may not know these, or it has ended
                fcntl.fcntl(self.descriptor, fcntl.F_SETOWN, -pid)
                fcntl.fcntl(self.descriptor, fcntl.F_SETSIG, signal.SIGKILL)
                fcntl.fcntl(self.descriptor, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


class Watchdog:
    """The watchdog process, as the pool sees it; replaced if it is killed.

    Args:
        mark: beginning of the environment entry that all children have.
        lifeline: for the deputy; None: there is no deputy.
    """

    def __init__(self, mark: str, lifeline: Lifeline | None = None) -> None:
        self._mark = mark
        self._lifeline = lifeline
        self._groups: set[int] = set()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes]
        self._closed = False
        self._seen_stopped = False

    def start(self) -> None:
        """Start the process; costs about 10 ms of CPU, none of it the worker's.

        Raises:
            OSError: no process or descriptor is to be had.
        """
        # The deputy of one that is replaced is still there.
        inherited = [] if self._lifeline is None else [self._lifeline.descriptor]
        self._lifeline = None
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _SCRIPT, self._mark, *map(str, inherited)],
            pass_fds=inherited,
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

    def kill_if_stopped(self) -> None:
        """Kill a watchdog that was stopped, for it to be replaced: it would not see our end.

        Not at the first look, because whoever stops and continues all processes together may have
        continued this one earlier. Any thread may call this, again and again.
        """
        with self._lock:
            if self._closed:
                return
            options = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            stopped = False
            with contextlib.suppress(ChildProcessError):  # it has ended
                stopped = os.waitid(os.P_PID, self._process.pid, options) is not None
            if stopped and self._seen_stopped:
                logger.warning(
                    "the process that ends the tasks if this worker is killed was stopped: it is "
                    "replaced"
                )
                self._process.kill()
            self._seen_stopped = stopped and not self._seen_stopped

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
