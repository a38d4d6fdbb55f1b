"""What every provider's message queues can do.

Adapters block, may be called from several threads at once, never repeat a request by themselves
and never create a queue unless told to. What can go wrong is sorted here, not by the caller:
trying again may help (:class:`~cloud_tasks.errors.QueueUnavailableError`), nothing will help
(:class:`~cloud_tasks.errors.QueueRefusedError`), or it is an ordinary answer about one message
(:class:`Failure`).
"""

from __future__ import annotations

import abc
import math
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(eq=False, slots=True)
class Message:
    """One delivery of one message. Told apart by identity: a message can be delivered twice.

    Attributes:
        message_id: the provider's name for the message, the same at each delivery.
        body: what was sent.
        handle: what the provider wants to see when this delivery is extended or settled; an
            adapter may replace it.
        attempt: which delivery it is, from 1; None where the provider doesn't count.
    """

    message_id: str
    body: bytes
    handle: Any
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send.

    Attributes:
        body: UTF-8 text, for providers that take no other bytes.
        key: tells it from all others in the queue. Where the provider can drop repeats, a
            second message of the same key within some minutes is dropped; messages of different
            keys never wait for each other.
    """

    body: bytes
    key: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one message of a request was not dealt with, while others were.

    Attributes:
        index: its place in the request.
        reason: in the provider's words.
        lost: the delivery isn't ours any more, so trying again is no use.
    """

    index: int
    reason: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What one request may ask for, and how long a delivery can be held; seconds and bytes.

    Attributes:
        receive: messages in one answer.
        settle: messages in one extend, ack or release.
        send: messages in one send.
        message_bytes: of one body.
        request_bytes: of all bodies of one send.
        min_lease: the shortest lease.
        max_lease: the longest that one request grants.
        longest_hold: the longest that extending can make of one delivery, counted from its
            receipt.
        longest_wait: that one receive can wait for a message.
    """

    receive: int
    settle: int
    send: int
    message_bytes: int
    request_bytes: int
    min_lease: int
    max_lease: int
    longest_hold: float = math.inf
    longest_wait: float = 20.0


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """What a check of a queue found.

    Attributes:
        counts_attempts: its messages tell which delivery they are.
        lease: seconds that a delivery is ours where the queue itself says so; None: the request
            says so.
    """

    counts_attempts: bool = True
    lease: float | None = None


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """How a queue is to be made.

    Attributes:
        lease: seconds that a delivery is its receiver's unless that asks for another time.
        retention: seconds that an unread message is kept.
        dead_letter: name of the queue for messages that were delivered too often; None: none.
        max_deliveries: that many are too many.
    """

    lease: int = 120
    retention: int = 14 * 86400
    dead_letter: str | None = None
    max_deliveries: int = 15


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages a queue holds, as far as its provider tells.

    Attributes:
        visible: could be received now; None: not known.
        in_flight: are with a receiver; None: not known.
        exact: not an estimate.
    """

    visible: int | None
    in_flight: int | None
    exact: bool = False


class MessageQueue(abc.ABC):
    """One queue, seen by those who send, receive and settle.

    Every method but ``close`` may raise:

    * ``QueueUnavailableError``: not now; nothing is known of what became of the request.
    * ``QueueRefusedError``: no credentials, no right, wrong place; ``QueueMissingError``: there
      is no such queue. The sentence names provider and queue, and what to do.

    Sequences longer than the limits allow are split into several requests.
    """

    limits: QueueLimits

    def __init__(self, name: str) -> None:
        self.name = name
        # Requests made so far, by the name of the operation: ``receive``, ``ack``, ...
        self.requests: Counter[str] = Counter()
        self._counting = threading.Lock()

    def _count(self, operation: str) -> None:
        with self._counting:
            self.requests[operation] += 1

    @abc.abstractmethod
    def check(self) -> QueueInfo:
        """Make sure by one cheap request that the queue is there and may be used."""

    @abc.abstractmethod
    def receive(self, n: int, *, wait: float, lease: float) -> list[Message]:
        """Return up to *n* messages, and never more than ``limits.receive``.

        Blocks up to *wait* seconds for the first one; an empty list is an ordinary answer. What
        is returned stays hidden from other receivers for *lease* seconds.
        """

    @abc.abstractmethod
    def extend(self, messages: Sequence[Message], seconds: float) -> list[Failure]:
        """Hold *messages* for *seconds* from now; clipped to the limits."""

    @abc.abstractmethod
    def ack(self, messages: Sequence[Message]) -> list[Failure]:
        """Delete *messages* for good. Deleting what is gone is no failure."""

    @abc.abstractmethod
    def release(self, messages: Sequence[Message], *, delay: float = 0.0) -> list[Failure]:
        """Give *messages* back: visible again at once, or as near to *delay* seconds as it can."""

    @abc.abstractmethod
    def send(self, messages: Sequence[Outgoing]) -> list[Failure]:
        """Send *messages*; returns when the provider has them.

        A body over ``limits.message_bytes`` is a failure with ``lost`` set.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections; a request under way in another thread may fail. Idempotent."""

    def __str__(self) -> str:
        return f"queue {self.name!r}"


class QueueAdmin(abc.ABC):
    """One queue, seen by those who set it up. Raises what :class:`MessageQueue` raises."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abc.abstractmethod
    def create(self, spec: QueueSpec) -> bool:
        """Make the queue as *spec* says; False if it was there, which leaves it as it is."""

    @abc.abstractmethod
    def depth(self) -> Depth:
        """Return how many messages it holds, without touching them."""

    @abc.abstractmethod
    def purge(self) -> None:
        """Delete all its messages and keep its settings; may take up to a minute to work."""

    @abc.abstractmethod
    def delete(self) -> bool:
        """Delete it and all that is in it; False if there was none."""


class QueueProvider(abc.ABC):
    """The queues of one cloud. The constructor imports no SDK and makes no request.

    Args:
        project_id: the project, for providers that have projects.
        endpoint_url: address of another server that speaks the provider's protocol.
        exactly_once: the queues are of the kind that delivers each message once.
    """

    #: Limits of every queue of this provider. A task can't run for longer than ``longest_hold``.
    limits: QueueLimits
    #: Names of the settings that must be given, besides those that every queue needs.
    required_settings: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        *,
        project_id: str | None = None,
        endpoint_url: str | None = None,
        exactly_once: bool = False,
    ) -> None:
        self.project_id = project_id
        self.endpoint_url = endpoint_url
        self.exactly_once = exactly_once

    @abc.abstractmethod
    def queue(self, name: str) -> MessageQueue:
        """Return the queue that users call *name*."""

    @abc.abstractmethod
    def admin(self, name: str) -> QueueAdmin:
        """Return what sets up the queue that users call *name*."""
