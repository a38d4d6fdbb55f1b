"""Send events to a provider's queue, one a message, for those who watch the job."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from cloud_tasks.errors import EventLogError, QueueError, QueueMissingError
from cloud_tasks.events.sink import EventSink
from cloud_tasks.events.truncation import event_id, shortened, stripped
from cloud_tasks.queues.base import Failure, MessageQueue, Outgoing
from cloud_tasks.queues.batching import chunks

logger = logging.getLogger(__name__)

#: Seconds between two attempts to send while the queue accepts nothing, at most.
_LONGEST_PAUSE = 30.0


class QueueSink(EventSink):
    """The event queue of a job.

    Args:
        queue: gets the events. It retries requests that failed for a passing reason; an error
            that it raises is final.
        pause: seconds before messages that it refused in its answer are sent again; doubles.
    """

    def __init__(self, queue: MessageQueue, *, pause: float = 0.2) -> None:
        self._queue = queue
        self._pause = pause
        self._closed = threading.Event()
        #: Ids of those events of the current ``write`` that the queue has accepted.
        self._accepted: set[str] = set()

    def open(self) -> None:
        """Make sure that the queue exists; blocks.

        Raises:
            EventLogError: it does not, or may not be used.
        """
        try:
            self._queue.check()
        except QueueMissingError as error:
            raise EventLogError(
                f"there is no event queue {self._queue.name!r}: make it with "
                "`cloud_tasks load_queue`, or do without it by --no-event-log-to-queue"
            ) from error
        except QueueError as error:
            raise self._failed(error) from error

    def write(self, lines: list[bytes]) -> None:
        """Send *lines*; blocks until the queue has accepted them all.

        An event that it refuses for good is sent without its long fields, and if that fails left
        out with a warning: it must not keep back all others.

        Raises:
            EventLogError: the queue can't be used any more, or the sink was closed. Call again
                with the same lines: those that were accepted are not sent again.
        """
        named = {event_id(line): line for line in lines}
        pause = self._pause
        while missing := {key: line for key, line in named.items() if key not in self._accepted}:
            before = len(self._accepted)
            failure = self._send_once(missing)
            if failure is None or len(self._accepted) > before:
                pause = self._pause
                continue
            if pause >= _LONGEST_PAUSE:
                logger.warning("the event %s accepts no events: %s", self._queue, failure.reason)
            if self._closed.wait(pause):
                raise EventLogError(
                    f"events could not be sent before the worker ended: {failure.reason}"
                )
            pause = min(_LONGEST_PAUSE, 2 * pause)
        self._accepted.clear()

    def _send_once(self, lines: dict[str, bytes]) -> Failure | None:
        """Send each of *lines* once; return one of the failures that are worth a retry."""
        retryable: Failure | None = None
        messages = [Outgoing(shortened(line), key) for key, line in lines.items()]
        sized = ((message, len(message.body)) for message in messages)
        limits = self._queue.limits
        # Each batch is one request, so that its failures are known by message.
        for batch in chunks(sized, limits.send, limits.request_bytes):
            for failure in self._send(batch):
                if failure.lost:
                    key = batch[failure.index].key
                    failed = self._send_stripped(key, lines[key], failure.reason)
                    retryable = failed or retryable
                else:
                    retryable = failure
        return retryable

    def _send_stripped(self, key: str, line: bytes, reason: str) -> Failure | None:
        """Send an event that the queue refused for good without its long fields."""
        body = stripped(line)
        if body is not None:
            failures = self._send([Outgoing(body, key)])
            if not failures:
                logger.warning(
                    "the %s accepted the event %s only without its long fields: %s",
                    self._queue,
                    key,
                    reason,
                )
                return None
            if not failures[0].lost:
                return failures[0]
        logger.warning("the %s refuses the event %s for good: %s", self._queue, key, reason)
        self._accepted.add(key)
        return None

    def _send(self, batch: Sequence[Outgoing]) -> list[Failure]:
        try:
            failures = self._queue.send(batch)
        except QueueError as error:
            raise self._failed(error) from error
        failed = {failure.index for failure in failures}
        self._accepted.update(
            message.key for index, message in enumerate(batch) if index not in failed
        )
        return failures

    def _failed(self, error: QueueError) -> EventLogError:
        return EventLogError(f"events can't be sent: {error}")

    def close(self) -> None:
        """Close the queue, and end a ``write`` that waits for its next attempt."""
        if not self._closed.is_set():
            logger.debug("requests to %s: %s", self._queue, dict(self._queue.requests))
        self._closed.set()
        self._queue.close()
