"""Share one resource tracker of multiprocessing between all children, so that it outlives them.

    child: SharedMemory(create=True) ──"REGISTER name"──► pipe ──► tracker: removes what is left
                                                                   when the last writer has ended

multiprocessing starts a tracker in the first process that needs one. In a child, that one would be
killed with the task it is there for. So all children of this process write to one pipe, as those of
a multiprocessing pool do. Its reader is the tracker that the user's program has started already, or
one that is started here when a child first writes. Either cleans up at the end of this process.

As multiprocessing itself, it can't tell a name that a task has left for a later task from one that
a killed task has left: both stay until then.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import subprocess
import sys
import threading

from cloud_tasks.executors.common.worker_files import WorkerFile

_SCRIPT = "from multiprocessing.resource_tracker import main; main({reader})"
#: Seconds that cleaning up may take at the end of this process.
_PATIENCE = 5.0


class SharedTracker:
    """The pipe to the tracker, and the tracker's process if it is ours.

    Attributes:
        file: the end that children write to.

    Raises:
        OSError: no descriptor is to be had.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: int | None = None
        self._writer = _running_tracker()
        if self._writer is None:
            self._reader, self._writer = os.pipe()
            atexit.register(self._close)
        self.file = WorkerFile(self._writer)

    def usable(self) -> bool:
        """Return whether ``file`` still is the tracker's; the program may have replaced its own."""
        return self._reader is not None or self._writer == _running_tracker()

    def requests(self) -> int | None:
        """Return a descriptor that is readable when a tracker must be started.

        None: there is one, see ``pid``.
        """
        return self._reader if self.pid is None else None

    @property
    def pid(self) -> int | None:
        """The process id of the tracker; None: not ours, not started yet, or dead."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def start_if_wanted(self) -> None:
        """Start the tracker if a child has written and there is none; any thread may call this."""
        with self._lock:
            if self._reader is None or self.pid is not None:
                return
            if not select.select([self._reader], [], [], 0)[0]:
                return
            with contextlib.suppress(OSError):  # what was written waits for the next try
                self._process = subprocess.Popen(
                    [sys.executable, "-S", "-E", "-c", _SCRIPT.format(reader=self._reader)],
                    pass_fds=[self._reader],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    # It warns of each name that it removes, which is no fault of the program.
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    cwd="/",
                )

    def _close(self) -> None:
        """Wait until all is removed that ended children have left; at the end of this process."""
        self.start_if_wanted()
        assert self._writer is not None
        os.close(self._writer)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)


def _running_tracker() -> int | None:
    """Return the descriptor of the tracker that the program itself uses; None: it has none yet."""
    module = sys.modules.get("multiprocessing.resource_tracker")
    tracker = getattr(module, "_resource_tracker", None)
    # To ask by the public getfd() would start one, which costs as much as a child.
    if module is None or getattr(tracker, "_fd", None) is None:
        return None
    descriptor: int = module.getfd()
    return descriptor


#: The tracker of this process by its pid: a process that was forked needs one of its own.
_shared: dict[int, SharedTracker] = {}
_shared_lock = threading.Lock()


def shared_tracker() -> SharedTracker:
    """Return the tracker of this process.

    Raises:
        OSError: no descriptor is to be had.
    """
    with _shared_lock:
        tracker = _shared.get(os.getpid())
        if tracker is None or not tracker.usable():
            _shared.clear()
            tracker = _shared[os.getpid()] = SharedTracker()
        return tracker
