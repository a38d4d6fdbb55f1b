"""Send very short jobs to a child ahead of need, and recall those that it has not begun.

A child whose jobs take less than a millisecond would wait for the pool after each reply. So up to
32 jobs are in the child at once: one runs, the others wait in its socket::

    queue ──send_ahead──► child: [runs] [waits] [waits] ...     permits: one for each that waits
      ▲                            │
      └──────── recall ────────────┘

A job that was sent ahead belongs to the side that takes its permit, one count of an eventfd that
both share: the child takes one before it begins the job, the pool takes them back to recall jobs.
So no job is both recalled and begun. The child skips a job for which it finds no permit; nothing
more is sent ahead until it has skipped all recalled ones, because they would use up new permits. A
reply to a later job shows that it has (``Child.recall_barrier``).

Jobs are recalled when the child turns out to be busy for longer (10 ms, or 1 ms while another slot
is idle), when the pool closes, and before a task is ended. All this is in the pool's thread.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.pool.state import Child, Job, JobQueue, Slot
from cloud_tasks.outcome import Exited

#: Seconds that jobs may wait in a child behind one that runs, and while another slot is idle.
#: The second is also the time in which a child should be able to do all jobs that it has.
HOLD, SOON = 0.01, 0.001
_MAX_DEPTH = 32
#: Number of children with jobs that short that do more than one parent can send.
_ENOUGH = 3
#: How often a job is sent if children die before they call its function.
_MAX_BOOT_LOSSES = 3


def depth_for(run_time: float | None) -> int:
    """Return how many jobs a child should have if the last one took *run_time* seconds."""
    if run_time is None or run_time >= SOON:
        return 1
    return _MAX_DEPTH if run_time * _MAX_DEPTH <= SOON else int(SOON / run_time)


def open_permits() -> int | None:
    """Return an eventfd that counts down by one at each read; None where there is none."""
    if not hasattr(os, "eventfd"):
        return None
    return os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)


class Pipeline:
    """Decides how many jobs wait in children, sends them, and takes them back.

    Args:
        queue: jobs are taken from it, and put back in front.
        send: sends frames to a child: called with the child, the kind and the bodies.
        wake_by: called with the monotonic time by which the pool has to check deadlines again.
    """

    def __init__(
        self,
        queue: JobQueue,
        send: Callable[[Child, int, Sequence[bytes]], None],
        wake_by: Callable[[float], None],
    ) -> None:
        self._queue = queue
        self._send = send
        self._wake_by = wake_by

    def suffices(self, slots: Iterable[Slot], within: float) -> bool:
        """True if children in the middle of very short jobs take all that the pool can send.

        A child counts that has replied in the last *within* seconds.
        """
        since = time.monotonic() - within
        quick = [
            child
            for slot in slots
            if (child := slot.child) is not None
            and child.depth == _MAX_DEPTH
            and child.last_reply_at > since
            and child.jobs
            and child.permits is not None
            and not child.recalled
        ]
        enough = len(quick) >= _ENOUGH or any(child.drained for child in quick)
        if enough:
            # The next job of such a child may take long: check again then.
            self._wake_by(since + 2 * within)
        return enough

    def send_ahead(self, child: Child, *, others_idle: bool) -> None:
        """Send a busy *child* queued jobs until it has as many as it should."""
        permits = child.permits
        if permits is None or child.recalled or (others_idle and child.depth < _MAX_DEPTH):
            return
        jobs: list[Job] = []
        while len(child.jobs) + len(jobs) < child.depth:
            job = self._queue.claim_next()
            if job is None:
                break
            jobs.append(job)
        if not jobs:
            return
        now = time.monotonic()
        for job in jobs:
            job.sent_at = now
        child.jobs.extend(jobs)
        self._wake_by(child.last_reply_at + HOLD)
        # The permits first: a job that is read without one counts as recalled.
        os.eventfd_write(permits, len(jobs))
        self._send(child, protocol.AHEAD, [job.body for job in jobs])

    def recall(self, child: Child) -> list[Job]:
        """Put the jobs that *child* has not begun back in front of the queue; return them.

        These may be all that it has: the first one, too, waits until its permit is taken.
        """
        recalled: list[Job] = []
        if child.permits is not None:
            with contextlib.suppress(BlockingIOError):
                while child.jobs:
                    os.eventfd_read(child.permits)
                    recalled.append(child.jobs.pop())
        if recalled:
            child.recalled = True
            child.recall_barrier = 0
            for job in recalled:
                job.assigned_at = 0.0
            self._queue.extendleft(recalled)
        return recalled

    def recall_if_stalled(self, child: Child, now: float, *, others_idle: bool) -> bool:
        """Recall the waiting jobs of *child* if it has not replied for too long; True if so."""
        patience = SOON if others_idle else HOLD
        stalled = child.last_reply_at + patience <= now
        if stalled:
            self.recall(child)
        if len(child.jobs) > 1:
            self._wake_by(max(child.last_reply_at, now) + patience)
        return stalled

    def take_back(self, child: Child) -> None:
        """Queue again, in front, what a *child* that begins nothing more has not replied to.

        A job whose process died three times before the call is resolved instead.
        """
        self.recall(child)
        while child.jobs:
            job = child.jobs.pop()
            job.assigned_at = 0.0
            if job.boot_losses < _MAX_BOOT_LOSSES:
                self._queue.appendleft(job)
            else:
                job.resolve(Exited(None, "its process died again and again before the call"))
