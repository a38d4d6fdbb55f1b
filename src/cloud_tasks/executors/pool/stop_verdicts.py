"""Tell the tasks that a signal to all processes has ended from those that failed by themselves.

::

    end of a task ─► not by a stop signal ──────────► its outcome
                 └─► perhaps ─► the worker stops ───► Aborted: it is handed back
                            └─► it does not (yet) ──► held for STOP_PATIENCE ─► its outcome

A task may be found dead before the worker has handled the same signal, hence the wait. The slot is
free meanwhile. All of it is in the pool's thread.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable

from cloud_tasks.executors.common.protocol import STOP_PATIENCE
from cloud_tasks.executors.pool.state import Job
from cloud_tasks.outcome import Aborted, Exited, Outcome, Raised

_STOP_SIGNALS = tuple(
    int(getattr(signal, name)) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name)
)
#: Exit codes of a process that such a signal has ended, or that says so of itself as shells do.
_EXIT_CODES = frozenset(code for n in _STOP_SIGNALS for code in (-n, 128 + n))
#: A process that the task had started got the signal before the task's own did, as subprocess and
#: loky say it.
_HELPER_DIED = re.compile(r"\bSIG(TERM|HUP)\b|exit status (143|129)\b")


class StopVerdicts:
    """Resolves jobs; *wake_by* has ``resolve_due`` called at a monotonic time."""

    def __init__(self, wake_by: Callable[[float], None]) -> None:
        self._wake_by = wake_by
        self._held: list[tuple[float, Job, Outcome]] = []
        self._stopping = False

    @property
    def pending(self) -> bool:
        """Return whether an outcome is held."""
        return bool(self._held)

    def resolve(self, job: Job, outcome: Outcome) -> None:
        """Give *job* its *outcome*, or ``Aborted`` in its place, now or soon."""
        if not _may_be_stopped(job, outcome):
            job.resolve(outcome)
        elif self._stopping:
            job.resolve(_aborted(outcome))
        else:
            due = time.monotonic() + STOP_PATIENCE
            self._held.append((due, job, outcome))
            self._wake_by(due)

    def on_stop(self) -> None:
        """Record that the worker has been asked to stop."""
        self._stopping = True
        held, self._held = self._held, []
        for _, job, outcome in held:
            job.resolve(_aborted(outcome))

    def resolve_due(self) -> None:
        """Resolve the jobs that have been held long enough."""
        now = time.monotonic()
        due = [entry for entry in self._held if entry[0] <= now]
        self._held = [entry for entry in self._held if entry[0] > now]
        for _, job, outcome in due:
            job.resolve(outcome)
        for when, _, _ in self._held:
            self._wake_by(when)

    def resolve_all(self) -> None:
        """Resolve all jobs that are held."""
        held, self._held = self._held, []
        for _, job, outcome in held:
            job.resolve(outcome)


def _may_be_stopped(job: Job, outcome: Outcome) -> bool:
    """Return whether a stop signal may have ended *job*, or a process that it needed."""
    match outcome:
        case Exited(exit_code=code):
            return job.signalled or code in _EXIT_CODES
        case Raised(exc_type=name, message=message):
            if job.signalled or name in ("KeyboardInterrupt", "BrokenProcessPool"):
                return True
            return _HELPER_DIED.search(message) is not None
        case _:
            return False


def _aborted(outcome: Outcome) -> Aborted:
    return Aborted("a signal that stopped the worker, too, ended it", outcome.measures)
