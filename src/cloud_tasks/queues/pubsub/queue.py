"""Send, receive and settle the messages of one queue: a topic and its subscription.

Messages are received by single pulls, because the library's streaming pull keeps the messages that
it has prefetched hidden for a minute after it was cancelled.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Sequence
from typing import Any

from cloud_tasks.errors import QueueError, QueueMissingError
from cloud_tasks.queues.base import (
    Backlog,
    Failure,
    Message,
    MessageQueue,
    Outgoing,
    QueueInfo,
    QueueLimits,
)
from cloud_tasks.queues.batching import chunks
from cloud_tasks.queues.pubsub.backlog import find_backlog
from cloud_tasks.queues.pubsub.client import TIMEOUT, Connection
from cloud_tasks.queues.pubsub.errors import (
    CallError,
    NoPermissionError,
    Side,
    check_fit,
    to_queue_error,
)

logger = logging.getLogger(__name__)

#: Bytes of all bodies: the service takes 10,000,000, lengths of up to 1,000 bodies included.
_REQUEST_BYTES = 9_950_000

LIMITS = QueueLimits(
    receive=1000,
    settle=1000,
    send=1000,
    message_bytes=_REQUEST_BYTES,
    request_bytes=_REQUEST_BYTES,
    min_lease=10,
    max_lease=600,
    longest_wait=20.0,
)
#: Bytes of all ack ids in a request, of which the service takes 512 KiB; ids have any length.
_IDS_BYTES = 480_000
#: Bytes that the protocol adds to each ack id.
_ID_OVERHEAD = 4

#: Seconds that a pull may last longer than its caller wants to wait, because the server answers
#: before the client's deadline: the emulator a second before.
_PULL_MARGIN = 1.0
#: Seconds between two pulls of one receive, if the service answers early that it has no message.
_PAUSE = 0.25
#: Seconds without any answer after which a pull that timed out is followed by a check.
_MAX_SILENCE = 60.0
#: Bytes of messages for which a send may take a second longer.
_BYTES_PER_SECOND = 1_000_000

_PERMANENT = "PERMANENT_FAILURE"


class PubSubQueue(MessageQueue):
    """The queue that *connection* leads to.

    With *exactly_once* a warning is logged if its subscription may deliver a message twice.
    """

    limits = LIMITS

    def __init__(self, connection: Connection, *, exactly_once: bool = False) -> None:
        super().__init__(connection.names.queue)
        self._connection = connection
        self._names = connection.names
        self._exactly_once = exactly_once
        self._closing = threading.Event()
        #: Seconds of the subscription's own lease; 0 if it can't be read, None if not yet read.
        self._lease: int | None = None

    def check(self) -> QueueInfo:
        """Read the topic and the subscription by two requests.

        Permission for one of them is enough: an account that only sends may not read the
        subscription, one that only receives may not read the topic.
        """
        may_read_topic = True
        try:
            self._get("topic")
        except NoPermissionError:
            may_read_topic = False
        try:
            subscription = self._get("subscription")
        except NoPermissionError:
            if not may_read_topic:
                raise
            self._lease = 0
            return QueueInfo(counts_attempts=False)
        return self._info(subscription)

    def _get(self, side: Side) -> Any:
        self._count("check")
        return self._connection.read(side)

    def _info(self, subscription: Any) -> QueueInfo:
        if subscription.topic != self._names.topic:
            raise QueueMissingError(
                f"the Pub/Sub subscription of queue {self.name!r} in project "
                f"{self._names.project!r} belongs to topic {subscription.topic!r}: delete the "
                "queue and create it again"
            )
        check_fit(subscription, self._names)
        if self._exactly_once and not subscription.enable_exactly_once_delivery:
            logger.warning(
                "%s was not created for exactly-once delivery: it may deliver a message again",
                self,
            )
        self._lease = subscription.ack_deadline_seconds
        counts = bool(subscription.dead_letter_policy.dead_letter_topic)
        return QueueInfo(counts_attempts=counts, lease=self._lease)

    def receive(self, n: int, *, wait: float, lease: float) -> list[Message]:
        """Pull up to *n* messages; may return fewer than there are."""
        if n < 1:
            return []
        own_lease = self._own_lease()
        deadline = time.monotonic() + min(wait, self.limits.longest_wait)
        messages = self._pull(n, deadline)
        while not messages and deadline - time.monotonic() > _PULL_MARGIN:
            if self._closing.wait(_PAUSE):
                break
            messages = self._pull(n, deadline)
        seconds = clipped(lease)
        if messages and seconds != own_lease:
            return self._with_lease(messages, seconds)
        return messages

    def _own_lease(self) -> int:
        if self._lease is None:
            try:
                self._info(self._get("subscription"))
            except NoPermissionError:  # pulling needs another permission
                self._lease = 0
        return self._lease or 0

    def _pull(self, n: int, deadline: float) -> list[Message]:
        fields = {
            "subscription": self._names.subscription,
            "max_messages": min(n, self.limits.receive),
        }
        timeout = max(deadline - time.monotonic(), 0.0) + _PULL_MARGIN
        self._count("receive")
        try:
            answer = self._connection.call("subscription", "pull", fields, timeout=timeout)
        except CallError as error:
            if error.code == "DEADLINE_EXCEEDED":
                self._check_after_silence()
                return []
            if error.code == "NOT_FOUND":  # a subscription created anew may have another lease
                self._lease = None
            raise to_queue_error(error, self._names, "subscription") from error
        if not all(found.ack_id and found.message.message_id for found in answer.received_messages):
            raise self._connection.no_answer("a message without its ids")
        return [
            Message(
                received.message.message_id,
                received.message.data,
                received.ack_id,
                received.delivery_attempt or None,
                None if received.message.data else dict(received.message.attributes),
            )
            for received in answer.received_messages
        ]

    def _check_after_silence(self) -> None:
        """Check that the service can be reached, if it has not answered for a minute.

        The service may report an empty queue by letting a pull time out, which a broken
        connection does as well.
        """
        if time.monotonic() - self._connection.last_answer > _MAX_SILENCE:
            with contextlib.suppress(NoPermissionError):
                self._get("subscription")

    def _with_lease(self, messages: list[Message], seconds: int) -> list[Message]:
        """Set the lease of *messages* to *seconds*; return those that we still hold."""
        try:
            failures = self._settle("extend", messages, seconds)
        except QueueError as error:
            # We hold them all the same, for the subscription's own lease.
            logger.debug("%s: the lease could not be set: %s", self, error)
            return messages
        lost = {failure.index for failure in failures if failure.lost}
        return [message for index, message in enumerate(messages) if index not in lost]

    def extend(self, messages: Sequence[Message], seconds: float) -> list[Failure]:
        """Make the leases of *messages* end *seconds* from now, clipped to 10..600 s."""
        return self._settle("extend", messages, clipped(seconds))

    def ack(self, messages: Sequence[Message]) -> list[Failure]:
        """Delete *messages*; only exactly-once subscriptions report lost ones."""
        return self._settle("ack", messages, None)

    def release(self, messages: Sequence[Message], *, delay: float = 0.0) -> list[Failure]:
        """Make *messages* visible again after *delay* seconds, at most 600."""
        seconds = min(math.ceil(delay), LIMITS.max_lease) if delay > 0 else 0
        return self._settle("release", messages, seconds)

    def _settle(
        self, operation: str, messages: Sequence[Message], seconds: int | None
    ) -> list[Failure]:
        """Make the leases of *messages* end *seconds* from now; None deletes the messages."""
        failures = []
        sized = [(item, len(item[1].handle) + _ID_OVERHEAD) for item in enumerate(messages)]
        for chunk in chunks(sized, LIMITS.settle, _IDS_BYTES):
            failures += self._settle_chunk(operation, chunk, seconds)
        return failures

    def _settle_chunk(
        self, operation: str, chunk: list[tuple[int, Message]], seconds: int | None
    ) -> list[Failure]:
        method = "acknowledge" if seconds is None else "modify_ack_deadline"
        fields: dict[str, Any] = {
            "subscription": self._names.subscription,
            "ack_ids": [message.handle for _, message in chunk],
        }
        if seconds is not None:
            fields["ack_deadline_seconds"] = seconds
        self._count(operation)
        try:
            self._connection.call("subscription", method, fields)
        except CallError as error:
            if error.failed_ids:
                return _failures(error, chunk)
            if error.code != "INVALID_ARGUMENT":
                raise to_queue_error(error, self._names, "subscription") from error
            if len(chunk) == 1:
                return [Failure(chunk[0][0], error.text, lost=True)]
            # One bad id makes all fail, and the service may not say which: halve the chunk.
            half = len(chunk) // 2
            halves = (chunk[:half], chunk[half:])
            return [f for part in halves for f in self._settle_chunk(operation, part, seconds)]
        return []

    def send(self, messages: Sequence[Outgoing]) -> list[Failure]:
        """Publish *messages* on the topic; needs no subscription."""
        failures, fitting = [], []
        for index, message in enumerate(messages):
            size = len(message.body)
            if not (size or message.attributes):
                failures.append(Failure(index, "Pub/Sub takes no empty message", lost=True))
            elif size > LIMITS.message_bytes:
                reason = f"{size} bytes are more than the {LIMITS.message_bytes} of a message"
                failures.append(Failure(index, reason, lost=True))
            else:
                fitting.append((message, size))
        for chunk in chunks(fitting, LIMITS.send, LIMITS.request_bytes):
            fields = {
                "topic": self._names.topic,
                "messages": [
                    {"data": message.body, "attributes": message.attributes or {}}
                    for message in chunk
                ],
            }
            timeout = TIMEOUT + sum(len(message.body) for message in chunk) / _BYTES_PER_SECOND
            self._count("send")
            answer = self._connection.request("topic", "publish", fields, timeout=timeout)
            if len(answer.message_ids) != len(chunk):
                raise self._connection.no_answer(
                    f"{len(answer.message_ids)} ids for {len(chunk)} messages"
                )
        return failures

    def backlog(self) -> Backlog:
        """Return whether a message is not acknowledged, by a snapshot: see ``backlog``."""
        return find_backlog(self._connection, self._count)

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._closing.set()
        self._connection.close()


def clipped(seconds: float) -> int:
    """Return *seconds* of a lease, rounded up and within the limits."""
    return math.ceil(min(max(seconds, LIMITS.min_lease), LIMITS.max_lease))


def _failures(error: CallError, chunk: list[tuple[int, Message]]) -> list[Failure]:
    """Return the failures that an exactly-once subscription reported by ack id."""
    failures = []
    for index, message in chunk:
        reason = error.failed_ids.get(message.handle)
        if reason is not None:
            failures.append(Failure(index, reason, lost=reason.startswith(_PERMANENT)))
        elif error.is_transient:  # then the ids that are not mentioned have failed as well
            failures.append(Failure(index, error.text))
    return failures
