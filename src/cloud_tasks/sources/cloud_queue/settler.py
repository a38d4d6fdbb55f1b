"""Settle messages: delete them, give them back, or move them to the dead-letter queue.

A message that can't be settled comes again by itself when its lease ends.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
from collections.abc import Callable, Sequence

from cloud_tasks.clock import Clock
from cloud_tasks.errors import QueueError
from cloud_tasks.queues.base import Failure, Outgoing
from cloud_tasks.queues.retrying import RetryingQueue
from cloud_tasks.sources.cloud_queue.leases import Lease

logger = logging.getLogger(__name__)

#: Seconds that moving a message to the dead-letter queue is retried.
_MOVE_BUDGET = 10.0
#: Seconds until a message that could not be moved is delivered again.
_PARK_DELAY = 300.0
#: Characters of a provider's reason that are logged; some reasons quote long handles.
_MAX_QUOTE = 100


class Settler:
    """Settles leases that were dropped. Every method but the last two blocks; none raises.

    *dead* is the dead-letter queue, if there is one. *stop* ends the retries of both queues; it is
    set by :meth:`stop_retrying`.
    """

    def __init__(
        self,
        queue: RetryingQueue,
        dead: RetryingQueue | None,
        *,
        stop: threading.Event,
        clock: Clock,
    ) -> None:
        self.queue = queue
        self._dead = dead
        self._stop = stop
        self._clock = clock

    def ack(self, leases: Sequence[Lease]) -> None:
        """Delete their messages; retried while the leases last."""
        self._settle("acknowledged", self.queue.ack, leases)

    def release(
        self, leases: Sequence[Lease], *, delay: float = 0.0, budget: float = math.inf
    ) -> None:
        """Give their messages back, to be delivered again *delay* seconds from now.

        Retried while the leases last, and no longer than *budget* seconds.
        """
        release = functools.partial(self.queue.release, delay=delay)
        self._settle("given back", release, leases, budget)

    def dead_letter(self, leases: Sequence[Lease]) -> None:
        """Move their messages to the dead-letter queue.

        Without such a queue, or if it refuses a message, the message goes back for five minutes,
        so that no task is lost.
        """
        moved = self._move(leases)
        self.ack(moved)
        self.release([lease for lease in leases if lease not in moved], delay=_PARK_DELAY)

    def _move(self, leases: Sequence[Lease]) -> list[Lease]:
        if self._dead is None or not leases:
            return []
        messages = [lease.message for lease in leases]
        letters = [Outgoing(m.body, m.message_id, m.attributes) for m in messages]
        try:
            failures = self._dead.send(letters, budget=_MOVE_BUDGET)
        except QueueError as error:
            logger.error(  # noqa: TRY400 - the traceback adds nothing to the sentence
                "tasks that were given up could not be moved: %s. They stay in the queue and will "
                "be delivered again in %g s",
                error,
                _PARK_DELAY,
            )
            return []
        for failure in failures:
            logger.error("%s refused a message: %s", self._dead, failure.reason)
        failed = {failure.index for failure in failures}
        return [lease for index, lease in enumerate(leases) if index not in failed]

    def _settle(
        self,
        done: str,
        operation: Callable[..., list[Failure]],
        leases: Sequence[Lease],
        budget: float = math.inf,
    ) -> None:
        """Call *operation* with the messages of *leases*; log those that could not be *done*."""
        if not leases:
            return
        messages = [lease.message for lease in leases]
        lasting = min(lease.deadline for lease in leases) - self._clock.boot()
        try:
            failures = operation(messages, budget=min(max(0.0, lasting), budget))
        except QueueError as error:
            failed, reason = len(messages), str(error)
        else:
            if not failures:
                return
            failed, reason = len(failures), failures[0].reason
            if len(reason) > _MAX_QUOTE:
                reason = f"{reason[:_MAX_QUOTE]}..."
        # One line for all: after a purge of the queue there is a failure for each task.
        text = "%d of %d tasks could not be %s and will come again: %s"
        logger.warning(text, failed, len(messages), done, reason)

    def stop_retrying(self) -> None:
        """Make no request more than once from now on."""
        self._stop.set()

    def close(self) -> None:
        """Close the connections."""
        self.queue.close()
        if self._dead is not None:
            self._dead.close()
