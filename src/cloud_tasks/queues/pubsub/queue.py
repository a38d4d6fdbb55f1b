"""A topic and its subscription, as a worker uses them.

Messages are taken by single pulls. The library's stream would keep those that it has taken ahead
hidden for a minute after it was cancelled.
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
    Failure,
    Message,
    MessageQueue,
    Outgoing,
    QueueInfo,
    QueueLimits,
)
from cloud_tasks.queues.batching import chunks
from cloud_tasks.queues.pubsub.client import TIMEOUT, Connection
from cloud_tasks.queues.pubsub.errors import CallError, NoRightError, Side, explained

logger = logging.getLogger(__name__)

#: Of bodies: the service takes 10,000,000 in all, and each of a thousand has a length before it.
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
#: The service takes requests of 512 KiB about deliveries, whose ids it makes as long as it likes.
_IDS_BYTES = 480_000
_AROUND_AN_ID = 4

#: Seconds that a pull may last longer than its caller wants to wait. The server answers before
#: the client's time is over: the emulator a second.
_PULL_MARGIN = 1.0
#: Seconds between two pulls of one receive, where the service said too early that it has nothing.
_PAUSE = 0.25
#: Seconds without any answer after which an empty pull is not believed.
_SILENCE = 60.0
#: A message of so many bytes may take a second more to be sent.
_BYTES_A_SECOND = 1_000_000

_GONE = "PERMANENT_FAILURE"


class PubSubQueue(MessageQueue):
    """The queue that *connection* leads to.

    Args:
        connection: to its topic and subscription.
        exactly_once: it is expected to deliver each message once.
    """

    limits = LIMITS

    def __init__(self, connection: Connection, *, exactly_once: bool = False) -> None:
        super().__init__(connection.names.queue)
        self._connection = connection
        self._names = connection.names
        self._exactly_once = exactly_once
        self._closing = threading.Event()
        #: Seconds of the subscription's own lease; 0: we have no right to know; None: not asked.
        self._lease: int | None = None

    def check(self) -> QueueInfo:
        """Look at the topic and the subscription: two requests.

        An account that may only send sees no subscription, one that may only receive no topic:
        either is enough.
        """
        may_send = True
        try:
            self._look("topic")
        except NoRightError:
            may_send = False
        try:
            subscription = self._look("subscription")
        except NoRightError:
            if not may_send:
                raise
            self._lease = 0
            return QueueInfo(counts_attempts=False)
        return self._info(subscription)

    def _look(self, side: Side) -> Any:
        self._count("check")
        if side == "topic":
            return self._connection.request("topic", "get_topic", {"topic": self._names.topic})
        fields = {"subscription": self._names.subscription}
        return self._connection.request("subscription", "get_subscription", fields)

    def _info(self, subscription: Any) -> QueueInfo:
        if subscription.topic != self._names.topic:
            raise QueueMissingError(
                f"the Pub/Sub subscription of queue {self.name!r} in project "
                f"{self._names.project!r} belongs to topic {subscription.topic!r}: delete the "
                "queue and create it again"
            )
        if self._exactly_once and not subscription.enable_exactly_once_delivery:
            logger.warning(
                "%s was not made to deliver each message exactly once: it may deliver one again",
                self,
            )
        self._lease = subscription.ack_deadline_seconds
        counts = bool(subscription.dead_letter_policy.dead_letter_topic)
        return QueueInfo(counts_attempts=counts, lease=self._lease)

    def receive(self, n: int, *, wait: float, lease: float) -> list[Message]:
        """Pull up to *n* messages; an answer may have fewer than there are."""
        if n < 1:
            return []
        own_lease = self._own_lease()
        deadline = time.monotonic() + min(wait, self.limits.longest_wait)
        messages = self._pull(n, deadline)
        while not messages and deadline - time.monotonic() > _PULL_MARGIN:
            if self._closing.wait(_PAUSE):
                break
            messages = self._pull(n, deadline)
        seconds = _clipped(lease)
        return self._held(messages, seconds) if messages and seconds != own_lease else messages

    def _own_lease(self) -> int:
        if self._lease is None:
            try:
                self._info(self._look("subscription"))
            except NoRightError:  # it takes another one than pulling does
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
                self._make_sure()
                return []
            if error.code == "NOT_FOUND":  # one made anew may have another lease
                self._lease = None
            raise explained(error, self._names, "subscription") from error
        return [
            Message(
                received.message.message_id,
                received.message.data,
                received.ack_id,
                received.delivery_attempt or None,
            )
            for received in answer.received_messages
        ]

    def _make_sure(self) -> None:
        """Look whether the service is there at all, if it has long been silent.

        It may answer that there is nothing by letting the time run out, just as a connection
        does that leads nowhere.
        """
        if time.monotonic() - self._connection.heard > _SILENCE:
            with contextlib.suppress(NoRightError):
                self._look("subscription")

    def _held(self, messages: list[Message], seconds: int) -> list[Message]:
        """Give *messages* a lease of their own, and return those that are still ours."""
        try:
            failures = self._settle("extend", messages, seconds)
        except QueueError as error:
            # They are ours all the same, if for another time.
            logger.debug("%s: the lease could not be set: %s", self, error)
            return messages
        lost = {failure.index for failure in failures if failure.lost}
        return [message for index, message in enumerate(messages) if index not in lost]

    def extend(self, messages: Sequence[Message], seconds: float) -> list[Failure]:
        """Hold *messages* for *seconds* from now; 10 to 600 s."""
        return self._settle("extend", messages, _clipped(seconds))

    def ack(self, messages: Sequence[Message]) -> list[Failure]:
        """Delete *messages*; a lost one is reported by exactly-once subscriptions only."""
        return self._settle("ack", messages, None)

    def release(self, messages: Sequence[Message], *, delay: float = 0.0) -> list[Failure]:
        """Give *messages* back, up to 600 s later."""
        seconds = min(math.ceil(delay), LIMITS.max_lease) if delay > 0 else 0
        return self._settle("release", messages, seconds)

    def _settle(
        self, operation: str, messages: Sequence[Message], seconds: int | None
    ) -> list[Failure]:
        """Make these deliveries end in *seconds*; None: for good."""
        failures = []
        sized = [(item, len(item[1].handle) + _AROUND_AN_ID) for item in enumerate(messages)]
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
            if error.verdicts:
                return _failures(error, chunk)
            if error.code != "INVALID_ARGUMENT":
                raise explained(error, self._names, "subscription") from error
            if len(chunk) == 1:
                return [Failure(chunk[0][0], error.text, lost=True)]
            # One bad id fails them all, and the service need not say which it is.
            half = len(chunk) // 2
            parts = (chunk[:half], chunk[half:])
            return [f for part in parts for f in self._settle_chunk(operation, part, seconds)]
        return []

    def send(self, messages: Sequence[Outgoing]) -> list[Failure]:
        """Publish *messages*; nothing is asked of the subscription."""
        failures, fitting = [], []
        for index, message in enumerate(messages):
            size = len(message.body)
            if not size:
                failures.append(Failure(index, "Pub/Sub takes no empty message", lost=True))
            elif size > LIMITS.message_bytes:
                reason = f"{size} bytes are more than the {LIMITS.message_bytes} of a message"
                failures.append(Failure(index, reason, lost=True))
            else:
                fitting.append((message, size))
        for chunk in chunks(fitting, LIMITS.send, LIMITS.request_bytes):
            fields = {
                "topic": self._names.topic,
                "messages": [{"data": message.body} for message in chunk],
            }
            size = sum(len(message.body) for message in chunk)
            self._count("send")
            self._connection.request(
                "topic", "publish", fields, timeout=TIMEOUT + size / _BYTES_A_SECOND
            )
        return failures

    def close(self) -> None:
        """End the connections. Idempotent."""
        self._closing.set()
        self._connection.close()


def _clipped(seconds: float) -> int:
    return math.ceil(min(max(seconds, LIMITS.min_lease), LIMITS.max_lease))


def _failures(error: CallError, chunk: list[tuple[int, Message]]) -> list[Failure]:
    """Return what an exactly-once subscription says of each delivery."""
    failures = []
    for index, message in chunk:
        verdict = error.verdicts.get(message.handle)
        if verdict is not None:
            failures.append(Failure(index, verdict, lost=verdict.startswith(_GONE)))
        elif error.is_transient:  # what isn't mentioned is done only where the request was
            failures.append(Failure(index, error.text))
    return failures
