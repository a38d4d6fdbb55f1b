"""Events in a provider's queue, one a message, for whoever watches the job."""

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

#: Seconds between two tries when the queue takes nothing, at most.
_LONGEST_PAUSE = 30.0


class QueueSink(EventSink):
    """The event queue of a job.

    Args:
        queue: takes the events. It tries again by itself what may go well later; what it raises
            all the same is final.
        pause: seconds until the second try of messages that it answered with a failure.
    """

    def __init__(self, queue: MessageQueue, *, pause: float = 0.2) -> None:
        self._queue = queue
        self._pause = pause
        self._closed = threading.Event()
        #: Ids of the events that the queue has of the lines that are being written.
        self._taken: set[str] = set()

    def open(self) -> None:
        """Make sure that the queue is there; blocks.

        Raises:
            EventLogError: it isn't, or may not be used.
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
        """Send *lines*; blocks until the queue has taken them all.

        An event that it will never take is sent without its result, and if that doesn't help
        left out with a warning: it must not keep all others back.

        Raises:
            EventLogError: the queue can't be used any more, or the sink was closed. Call again
                with the same lines: those that were taken are not sent again.
        """
        named = {event_id(line): line for line in lines}
        pause = self._pause
        while missing := {key: line for key, line in named.items() if key not in self._taken}:
            before = len(self._taken)
            failure = self._send_once(missing)
            if failure is None or len(self._taken) > before:
                pause = self._pause
                continue
            if pause >= _LONGEST_PAUSE:
                logger.warning("the event %s takes no events: %s", self._queue, failure.reason)
            if self._closed.wait(pause):
                raise EventLogError(
                    f"events could not be sent before the worker ended: {failure.reason}"
                )
            pause = min(_LONGEST_PAUSE, 2 * pause)
        self._taken.clear()

    def _send_once(self, lines: dict[str, bytes]) -> Failure | None:
        """Try to send each of *lines*; return one of the failures that may go well later."""
        again: Failure | None = None
        messages = [Outgoing(shortened(line), key) for key, line in lines.items()]
        sized = ((message, len(message.body)) for message in messages)
        limits = self._queue.limits
        # Each batch is one request: then it is known what went well.
        for batch in chunks(sized, limits.send, limits.request_bytes):
            for failure in self._send(batch):
                if failure.lost:
                    key = batch[failure.index].key
                    again = self._send_stripped(key, lines[key], failure.reason) or again
                else:
                    again = failure
        return again

    def _send_stripped(self, key: str, line: bytes, reason: str) -> Failure | None:
        """Send what the queue may take of an event that it refused for good."""
        body = stripped(line)
        if body is not None:
            failures = self._send([Outgoing(body, key)])
            if not failures:
                logger.warning(
                    "the %s took the event %s only without its long fields: %s",
                    self._queue,
                    key,
                    reason,
                )
                return None
            if not failures[0].lost:
                return failures[0]
        logger.warning("the %s will never take the event %s: %s", self._queue, key, reason)
        self._taken.add(key)
        return None

    def _send(self, batch: Sequence[Outgoing]) -> list[Failure]:
        try:
            failures = self._queue.send(batch)
        except QueueError as error:
            raise self._failed(error) from error
        failed = {failure.index for failure in failures}
        self._taken.update(
            message.key for index, message in enumerate(batch) if index not in failed
        )
        return failures

    def _failed(self, error: QueueError) -> EventLogError:
        return EventLogError(f"events can't be sent: {error}")

    def close(self) -> None:
        """Let go of the queue, and of a ``write`` that is waiting to try again."""
        if not self._closed.is_set():
            logger.debug("requests to %s: %s", self._queue, dict(self._queue.requests))
        self._closed.set()
        self._queue.close()
