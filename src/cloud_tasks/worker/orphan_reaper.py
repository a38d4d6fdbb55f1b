"""Reap the orphans of tasks where this process is PID 1, as in a container without an init.

The kernel gives a process whose parent has ended to PID 1, and once it has ended itself, it stays
a zombie until PID 1 waits for it. To wait for any child would steal exit codes: of the pool's
children, of ``subprocess`` in the user's program, of C code. So only a process is waited for that
the user's program can't have started:

- It is in a session of another process. A child of ours is in our session or begins its own.
- The kernel lists children by the thread that forked them, and orphans with the main thread. What
  is listed there and was neither there at the start nor ever in another thread's list, is an
  orphan, if the main thread starts nothing: it is blocked in ``Worker.run``, or it runs the user's
  event loop, and no audit event has told of a process started there. A thread may have forked and
  ended between two looks: so it is reaped only if nobody waited for it until the next one.

What can't be told apart, stays. Zygotes adopt and reap the orphans of their own tasks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from cloud_tasks.system.shortage import start_thread

logger = logging.getLogger(__name__)

#: Seconds between two looks at the children.
_PERIOD = 0.5
#: Audit events of Python that tell of a process to be started.
_STARTS = frozenset(
    ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system")
)


class OrphanReaper:
    """Reaps from ``__enter__`` to ``__exit__``; does nothing in a process that is not PID 1.

    Args:
        main_starts_nothing: returns whether the main thread has started no process of the user's
            since the start.
    """

    def __init__(self, main_starts_nothing: Callable[[], bool]) -> None:
        self._main_starts_nothing = main_starts_nothing
        #: Children that are not to be reaped here, or may not be.
        self._spared: set[int] = set()
        #: Zombies of the last look that may be waited for by the user's program.
        self._doubtful: set[int] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        # Another process's /proc would list other pids.
        if os.getpid() != 1 or not _is_own_proc():
            return
        with contextlib.suppress(OSError):  # a kernel without these lists
            main, others = _children()
            self._spared = main | others
            self._thread = threading.Thread(
                target=self._run, name="cloud_tasks-orphan-reaper", daemon=True
            )
            start_thread(self._thread)

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD):
            self._look_safely()
        # All threads of the run have ended: their processes have been seen, or were waited for.
        self._look_safely(at_end=True)

    def _look_safely(self, *, at_end: bool = False) -> None:
        try:
            self._look(at_end=at_end)
        except OSError:  # no descriptor is left; there may be one the next time
            pass
        except BaseException:
            logger.exception("reaping the orphans of tasks failed")

    def _look(self, *, at_end: bool) -> None:
        """Reap the orphans that have ended."""
        main, others = _children()
        self._spared = (self._spared | others) & (main | others)
        doubtful, self._doubtful = self._doubtful, set()
        for pid in main - self._spared:
            with contextlib.suppress(ChildProcessError, ProcessLookupError):  # reaped meanwhile
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    continue
                unclaimed = at_end or pid in doubtful
                if _is_in_foreign_session(pid) or (unclaimed and self._main_starts_nothing()):
                    os.waitpid(pid, os.WNOHANG)
                else:
                    self._doubtful.add(pid)


class MainThreadStarts:
    """Notices in PID 1 whether Python code of the main thread starts a process from now on.

    By an audit hook, which stays until the end of this process.
    """

    def __init__(self) -> None:
        self._started = os.getpid() != 1
        self._main = threading.main_thread().ident
        if not self._started:
            sys.addaudithook(self._on_event)

    def none(self) -> bool:
        """Return whether there was none."""
        return not self._started

    def _on_event(self, event: str, _: object) -> None:
        if event in _STARTS and threading.get_ident() == self._main:
            self._started = True


def _is_own_proc() -> bool:
    try:
        return Path("/proc/self").readlink() == Path(str(os.getpid()))
    except OSError:
        return False


def _children() -> tuple[set[int], set[int]]:
    """Return the pids of the children of the main thread, and of the other threads.

    Raises:
        OSError: the kernel does not list them, or no descriptor is left.
    """
    threads = Path("/proc/self/task")
    # The main thread first: what an ending thread hands over to it must not seem to be its own.
    main = _children_of(threads / str(os.getpid()))
    others: set[int] = set()
    for thread in threads.iterdir():
        if thread.name != str(os.getpid()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                others |= _children_of(thread)
    return main, others - main


def _children_of(thread: Path) -> set[int]:
    return set(map(int, (thread / "children").read_bytes().split()))


def _is_in_foreign_session(pid: int) -> bool:
    """Return whether *pid* is in a session that neither it nor this process belongs to by itself.

    0 is any session outside of this PID namespace.
    """
    return os.getsid(pid) not in (0, pid, os.getsid(0))
