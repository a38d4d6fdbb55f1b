"""Send, receive and settle the messages of one queue of SQS.

SQS takes ten messages in a request, counts whole seconds, and lets a delivery be held for 12 hours
in all.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cloud_tasks.errors import QueueMissingError, QueueUnavailableError
from cloud_tasks.queues.base import (
    Backlog,
    Depth,
    Failure,
    Message,
    MessageQueue,
    Outgoing,
    QueueInfo,
    QueueLimits,
)
from cloud_tasks.queues.batching import chunks
from cloud_tasks.queues.sqs import codes
from cloud_tasks.queues.sqs.client import (
    LONGEST_WAIT,
    Connection,
    queue_attributes,
    queue_url,
)
from cloud_tasks.queues.sqs.names import FIFO, message_key

#: Most messages in one request of any kind.
_BATCH = 10

LIMITS = QueueLimits(
    receive=_BATCH,
    settle=_BATCH,
    send=_BATCH,
    message_bytes=2**20,
    request_bytes=2**20,
    min_lease=1,
    max_lease=43_200,
    longest_hold=43_200.0,
    longest_wait=float(LONGEST_WAIT),
)

_VISIBLE = "ApproximateNumberOfMessages"
_DELAYED = "ApproximateNumberOfMessagesDelayed"
_IN_FLIGHT = "ApproximateNumberOfMessagesNotVisible"

#: Seconds kept free before the end of the longest hold: our count starts when the answer is read,
#: SQS's when it is sent, and SQS refuses to extend beyond the end.
_HOLD_MARGIN = 60.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """The ReceiptHandle of a delivery, and when it came, by the monotonic clock."""

    handle: str
    received: float

    def left(self, now: float) -> float:
        """Return for how many more seconds SQS allows this delivery to be held."""
        return LIMITS.longest_hold - _HOLD_MARGIN - (now - self.received)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The entry of one message in a batch request."""

    index: int
    parameters: dict[str, Any] = field(repr=False)
    size: int = 0


class SqsQueue(MessageQueue):
    """The queue that SQS knows as *name*; a queue whose name ends in ``.fifo`` drops repeats.

    If a call takes several requests and a later one can't be made, its messages are returned as
    failures, so that those before them are not sent or settled again. Several queues can share a
    *connection*.
    """

    limits = LIMITS

    def __init__(self, name: str, connection: Connection) -> None:
        super().__init__(name)
        self._connection = connection
        self._url: str | None = None

    def check(self) -> QueueInfo:
        """Check by one request that the queue exists."""
        self._url = self._look_up("check")
        return QueueInfo()

    def receive(self, n: int, *, wait: float, lease: float) -> list[Message]:
        """Return up to *n* messages, and never more than ten.

        Fractions of seconds are rounded up, because with a wait of 0 s SQS looks at some of its
        servers only and misses messages.
        """
        if n < 1:
            return []
        answer = self._request(
            "receive",
            "receive_message",
            MaxNumberOfMessages=min(n, self.limits.receive),
            WaitTimeSeconds=_whole(wait, 0, self.limits.longest_wait),
            VisibilityTimeout=_whole(lease, 0, self.limits.max_lease),
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        now = time.monotonic()
        try:
            return [_message(found, now) for found in answer.get("Messages") or ()]
        except (KeyError, ValueError) as error:
            raise self._connection.no_answer(self.name, f"a message without {error}") from error

    def extend(self, messages: Sequence[Message], seconds: float) -> list[Failure]:
        """Make the leases of *messages* end *seconds* from now, at most 12 hours after receipt."""
        now = time.monotonic()
        entries, failures = [], []
        for index, message in enumerate(messages):
            left = message.handle.left(now)
            if left < self.limits.min_lease:
                failures.append(Failure(index, "held for 12 hours, the limit of SQS", lost=True))
                continue
            timeout = _whole(seconds, self.limits.min_lease, min(left, self.limits.max_lease))
            entries.append(_visibility(index, message, timeout))
        return failures + self._in_batches("extend", "change_message_visibility_batch", entries)

    def ack(self, messages: Sequence[Message]) -> list[Failure]:
        """Delete *messages*."""
        entries = [
            _Entry(index, {"ReceiptHandle": message.handle.handle})
            for index, message in enumerate(messages)
        ]
        return self._in_batches("ack", "delete_message_batch", entries)

    def release(self, messages: Sequence[Message], *, delay: float = 0.0) -> list[Failure]:
        """Make *messages* visible again after *delay* seconds, rounded up."""
        now = time.monotonic()
        entries = [
            _visibility(index, message, _whole(delay, 0, max(0.0, message.handle.left(now))))
            for index, message in enumerate(messages)
        ]
        return self._in_batches("release", "change_message_visibility_batch", entries)

    def send(self, messages: Sequence[Outgoing]) -> list[Failure]:
        """Send *messages*; return when SQS has stored them."""
        entries: list[_Entry] = []
        failures: list[Failure] = []
        for index, message in enumerate(messages):
            if reason := _unsendable(message.body):
                failures.append(Failure(index, reason, lost=True))
            else:
                entries.append(self._outgoing(index, message))
        return failures + self._in_batches("send", "send_message_batch", entries)

    def backlog(self) -> Backlog:
        """Return SQS's estimate of the messages that are not deleted; it is some seconds old."""
        url = self._own_url()
        self._count("backlog")
        depth = read_depth(self._connection, self.name, url)
        return Backlog((depth.visible or 0) + (depth.in_flight or 0))

    def close(self) -> None:
        """Close idle connections. Idempotent."""
        self._connection.close()

    def _outgoing(self, index: int, message: Outgoing) -> _Entry:
        parameters = {"MessageBody": message.body.decode()}
        if self.name.endswith(FIFO):
            # A group of its own, because SQS delivers the messages of one group one by one.
            key = message_key(message.key)
            parameters |= {"MessageGroupId": key, "MessageDeduplicationId": key}
        return _Entry(index, parameters, len(message.body))

    def _in_batches(self, counted: str, operation: str, entries: list[_Entry]) -> list[Failure]:
        failures: list[Failure] = []
        sized = ((entry, entry.size) for entry in entries)
        pending = deque(chunks(sized, _BATCH, LIMITS.request_bytes))
        answered = False
        while pending:
            chunk = pending.popleft()
            batch = [{"Id": str(entry.index), **entry.parameters} for entry in chunk]
            try:
                answer = self._request(counted, operation, Entries=batch)
            except codes.MessageRefusedError as error:
                # One message makes the whole batch fail: send each alone to find out which.
                if len(chunk) > 1:
                    pending.extendleft([entry] for entry in reversed(chunk))
                    continue
                failures.append(Failure(chunk[0].index, str(error), lost=True))
            except QueueUnavailableError as error:
                if not answered:
                    raise
                rest = [entry for part in (chunk, *pending) for entry in part]
                return failures + [Failure(entry.index, str(error)) for entry in rest]
            else:
                failures += self._failures(chunk, answer)
            answered = True
        return failures

    def _failures(self, chunk: list[_Entry], answer: dict[str, Any]) -> list[Failure]:
        """Return the failures that *answer* tells of *chunk*; no word about an entry is one."""
        pending = {str(entry.index): entry.index for entry in chunk}
        for entry in answer.get("Successful") or ():
            pending.pop(entry.get("Id"), None)
        failures = []
        for entry in answer.get("Failed") or ():
            index = pending.pop(entry.get("Id"), None)
            if index is not None:
                failures.append(_failure(index, entry))
        if pending:
            silence = str(self._connection.no_answer(self.name, "an answer without the messages"))
            failures += [Failure(index, silence) for index in pending.values()]
        return failures

    def _request(self, counted: str, operation: str, **parameters: Any) -> dict[str, Any]:
        url = self._own_url()
        self._count(counted)
        try:
            return self._connection.request(operation, self.name, QueueUrl=url, **parameters)
        except QueueMissingError:
            self._url = None
            raise

    def _own_url(self) -> str:
        self._url = self._url or self._look_up("url")
        return self._url

    def _look_up(self, counted: str) -> str:
        self._count(counted)
        return queue_url(self._connection, self.name)


def read_depth(connection: Connection, name: str, url: str) -> Depth:
    """Request how many messages the queue at *url* has: SQS's estimates, some seconds old."""
    found = queue_attributes(connection, name, url, (_VISIBLE, _DELAYED, _IN_FLIGHT))
    try:
        counts = {attribute: int(value) for attribute, value in found.items()}
    except ValueError as error:
        raise connection.no_answer(name, f"a number of messages that is none: {error}") from error
    return Depth(counts[_VISIBLE] + counts[_DELAYED], counts[_IN_FLIGHT], exact=False)


def _message(found: dict[str, Any], now: float) -> Message:
    """Return the message of one entry of an answer.

    Raises:
        KeyError, ValueError: it lacks what every message has.
    """
    count = (found.get("Attributes") or {}).get("ApproximateReceiveCount")
    return Message(
        message_id=found["MessageId"],
        body=found["Body"].encode(),
        handle=Receipt(found["ReceiptHandle"], now),
        attempt=None if count is None else int(count),
    )


def _visibility(index: int, message: Message, seconds: int) -> _Entry:
    handle = message.handle.handle
    return _Entry(index, {"ReceiptHandle": handle, "VisibilityTimeout": seconds})


def _whole(seconds: float, minimum: float, maximum: float) -> int:
    """Return *seconds* rounded up and clipped to whole seconds within both limits."""
    return int(min(math.floor(maximum), math.ceil(max(minimum, min(seconds, maximum)))))


def _unsendable(body: bytes) -> str | None:
    """Return why SQS would refuse the whole request because of *body*; None if it would not."""
    if not body:
        return "SQS takes no empty message"
    if len(body) > LIMITS.message_bytes:
        return f"its {len(body):,} bytes are more than the {LIMITS.message_bytes:,} that SQS allows"
    try:
        body.decode()
    except UnicodeDecodeError:
        return "SQS takes text only, and this is not UTF-8"
    return None


def _failure(index: int, entry: dict[str, Any]) -> Failure:
    code, message = entry.get("Code", ""), entry.get("Message") or ""
    lost = codes.is_lost(code, message, sender_fault=bool(entry.get("SenderFault")))
    reason = f"{codes.plain(code)}: {message}" if message else codes.plain(code)
    return Failure(index, reason, lost)
