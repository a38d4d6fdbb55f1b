"""Telling a queue what became of its messages. What can't be told comes again by itself."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence

from cloud_tasks.clock import Clock
from cloud_tasks.errors import QueueError
from cloud_tasks.queues.base import Failure, Message, Outgoing
from cloud_tasks.queues.retrying import RetryingQueue
from cloud_tasks.sources.cloud_queue.leases import Lease

logger = logging.getLogger(__name__)

#: Seconds that moving a message to the dead-letter queue is tried.
_MOVING = 10.0
#: Seconds until a message that could not be moved is seen again.
_PARKED = 300.0
#: Characters of a provider's words about a message; some of them quote long handles.
_QUOTED = 100


class Settler:
    """Settles leases that nobody extends any more. Every method blocks, and none raises.

    Args:
        queue: where the messages are.
        dead: takes what is given up; None: there is none.
        stop: ends their retries.
        clock: its ``boot`` counts.
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
        """Delete their messages; tried while the leases last."""
        self._settle("acknowledged", self.queue.ack, leases)

    def release(
        self, leases: Sequence[Lease], *, delay: float = 0.0, longest: float = math.inf
    ) -> None:
        """Give them back, to be seen *delay* seconds from now.

        It is tried while the leases last, and no longer than *longest* seconds.
        """

        def request(messages: Sequence[Message], budget: float) -> list[Failure]:
            return self.queue.release(messages, delay=delay, budget=min(budget, longest))

        self._settle("given back", request, leases)

    def give_up(self, leases: Sequence[Lease]) -> None:
        """Move their messages to the dead-letter queue.

        Where there is none, or it doesn't take a message, that goes back for some minutes:
        nothing is lost.
        """
        moved = self._move(leases)
        self.ack(moved)
        self.release([lease for lease in leases if lease not in moved], delay=_PARKED)

    def _move(self, leases: Sequence[Lease]) -> list[Lease]:
        if self._dead is None or not leases:
            return []
        letters = [Outgoing(lease.message.body, lease.message.message_id) for lease in leases]
        try:
            failures = self._dead.send(letters, budget=_MOVING)
        except QueueError as error:
            logger.error(  # noqa: TRY400 - the sentence says it all
                "tasks that were given up could not be moved: %s. They stay where they are, and "
                "will be seen again in %g s",
                error,
                _PARKED,
            )
            return []
        for failure in failures:
            logger.error("%s does not take a message: %s", self._dead, failure.reason)
        failed = {failure.index for failure in failures}
        return [lease for index, lease in enumerate(leases) if index not in failed]

    def _settle(
        self, what: str, request: Callable[..., list[Failure]], leases: Sequence[Lease]
    ) -> None:
        if not leases:
            return
        budget = min(lease.deadline for lease in leases) - self._clock.boot()
        try:
            failures = request([lease.message for lease in leases], budget=max(0.0, budget))
        except QueueError as error:
            _tell(len(leases), len(leases), what, str(error))
            return
        if failures:
            # One line for all: after a purge of the queue there is a failure for each task.
            reason = failures[0].reason
            short = reason if len(reason) <= _QUOTED else f"{reason[:_QUOTED]}..."
            _tell(len(failures), len(leases), what, short)

    def hurry(self) -> None:
        """Try nothing more than once from now on."""
        self._stop.set()

    def close(self) -> None:
        """Let go of the connections."""
        self.queue.close()
        if self._dead is not None:
            self._dead.close()


def _tell(failed: int, asked: int, what: str, reason: str) -> None:
    logger.warning(
        "%d of %d tasks could not be %s and will come again: %s", failed, asked, what, reason
    )
