"""Decide when the job of a queue is done: nothing is visible, delayed, or held by any worker.

    an empty receive, and this worker holds nothing ──► is_done() ──► queue.backlog()
                                                                        │
       exact 0 ──────────────────────────────────────► done            │
       estimated 0 ──► a lease later, still 0 ───────► done ◄──────────┤
       unknown ──► silence for longer than any lease ► done, with a warning at the start

An estimate counts only if it is seen twice a lease apart, without a message in between: what a
worker that died held is visible again by then, and was received. Where the provider can't count,
what is known is only what this worker receives: a task that another worker runs for longer than
the silence lasts is not seen. Everything but ``open`` belongs to the receiving thread.
"""

from __future__ import annotations

import logging

from cloud_tasks.clock import Clock
from cloud_tasks.errors import QueueUnavailableError
from cloud_tasks.queues.retrying import RetryingQueue

logger = logging.getLogger(__name__)

#: Seconds from one look to the next while there are messages, at first and at most: each look is a
#: request, so they double while other workers work.
_SHORTEST_INTERVAL, _LONGEST_INTERVAL = 1.0, 30.0
#: Longest time in seconds for which a message that nobody holds is hidden: a retry's pause, and
#: that of a task that could not be moved to the dead-letter queue.
_LONGEST_DELAY = 300.0
#: Seconds by which a provider may deliver a message later than it could.
_MARGIN = 10.0
#: Seconds between two receives after which nothing is known of the time in between, as in an
#: outage.
_LONGEST_GAP = 30.0


class DoneCheck:
    """Decides when *queue*, whose messages this worker leases for *lease* seconds, is done."""

    def __init__(self, queue: RetryingQueue, lease: float, clock: Clock) -> None:
        self._queue = queue
        self._lease = lease
        self._clock = clock
        self._interval = _SHORTEST_INTERVAL
        self._silence = max(lease, _LONGEST_DELAY) + _MARGIN
        self._countable = True
        self._last_look = self._next_look = 0.0
        #: When an estimate of 0 was seen first.
        self._empty_since: float | None = None
        #: When the silence began, and when it was last checked; None if it has not begun.
        self._silent_since: float | None = None
        self._checked = 0.0

    def open(self) -> None:
        """Find out whether the provider counts messages; blocks, and warns if it doesn't.

        Raises:
            QueueError: the queue can't be used.
        """
        self._look()

    def busy(self) -> None:
        """Record that a message came, or that this worker holds one."""
        self._empty_since = self._silent_since = None
        self._interval = _SHORTEST_INTERVAL
        self._next_look = self._last_look + self._interval

    def is_done(self) -> bool:
        """Return whether the job is done; may make a request.

        To be called after each receive without a message while this worker holds none.

        Raises:
            QueueError: the queue can't be used.
        """
        now = self._clock.monotonic()
        if self._silent_since is None or now - self._checked > _LONGEST_GAP:
            self._silent_since = now
        self._checked = now
        if not self._countable:
            return now - self._silent_since >= self._silence
        if now < self._next_look:
            return False
        return self._is_counted_out()

    def _is_counted_out(self) -> bool:
        try:
            left, exact = self._look()
        except QueueUnavailableError:
            # Reported by the queue. Receiving waits for as long as it takes.
            self._next_look = self._clock.monotonic() + self._interval
            return False
        now = self._last_look = self._clock.monotonic()
        self._next_look = now + self._interval
        if left is None or left > 0:
            self._interval = min(2 * self._interval, _LONGEST_INTERVAL)
            self._empty_since = None
            return False
        if self._empty_since is None:
            self._empty_since, self._next_look = now, now + self._lease
            return exact
        return True

    def _look(self) -> tuple[int | None, bool]:
        """Return how many messages are left, None if unknown, and whether that is exact."""
        backlog = self._queue.backlog()
        if backlog.messages is None and self._countable:
            self._countable = False
            logger.warning(
                "tasks that other workers hold can't be counted for %s: %s. This worker ends when "
                "it has received nothing for %g s; a task that another one still runs by then, "
                "and loses, is left behind",
                self._queue,
                backlog.reason,
                self._silence,
            )
        return backlog.messages, backlog.exact
