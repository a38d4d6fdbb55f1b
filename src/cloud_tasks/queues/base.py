"""Define the interface of a provider's message queues, and the names of a job's queues.

Adapters block, may be called from several threads at once, never repeat a request by themselves
and never create a queue unless told to. The adapter, not its caller, sorts what can go wrong:
trying again may help (:class:`~cloud_tasks.errors.QueueUnavailableError`), nothing will help
(:class:`~cloud_tasks.errors.QueueRefusedError`), or it is an ordinary answer about one message
(:class:`Failure`).
"""

from __future__ import annotations

import abc
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


def events_name(name: str) -> str:
    """Return the name of the queue for the events of the tasks in queue *name*."""
    return f"{name}-events"


def dead_name(name: str) -> str:
    """Return the name of the queue for the tasks of queue *name* that were given up."""
    return f"{name}-dead"


@dataclass(eq=False, slots=True)
class Message:
    """One delivery of one message. Compared by identity: a message can be delivered twice.

    Attributes:
        message_id: the provider's id of the message, the same at each delivery.
        body: the bytes that were sent.
        handle: the provider's token for extending or settling this delivery; an adapter may
            replace it.
        attempt: number of the delivery, from 1; None if the provider doesn't count.
        attributes: of a message without a body, where the provider has such.
    """

    message_id: str
    body: bytes
    handle: Any
    attempt: int | None = None
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send.

    Attributes:
        body: UTF-8 text, because some providers take no other bytes.
        key: unique in the queue. A provider that can drop repeats drops a second message of the
            same key within some minutes; messages of different keys never wait for each other.
        attributes: of a message without a body, see :class:`Message`.
    """

    body: bytes
    key: str
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of one message of a request, while others may have succeeded.

    Attributes:
        index: index of the message in the request.
        reason: the provider's explanation.
        lost: trying again is no use, for instance because the lease is over.
    """

    index: int
    reason: str
    lost: bool = False


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """Limits of a provider's requests and leases; times in seconds.

    Attributes:
        receive: most messages in one answer.
        settle: most messages in one extend, ack or release.
        send: most messages in one send.
        message_bytes: most bytes of one body.
        request_bytes: most bytes of all bodies of one send.
        min_lease: shortest lease.
        max_lease: longest lease that one request grants.
        longest_hold: longest time that a delivery can be held by extending its lease, counted
            from its receipt.
        longest_wait: longest time that one receive can wait for a message.
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
    """Properties of an existing queue, found by a check.

    Attributes:
        counts_attempts: its messages carry the number of their delivery.
        lease: seconds of a lease, if the queue sets it; None if each request sets its own.
    """

    counts_attempts: bool = True
    lease: float | None = None


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """Settings of a queue to create.

    Attributes:
        lease: seconds of a lease, unless the receiver asks for another time.
        retention: seconds that an unread message is kept.
        dead_letter: name of the queue for messages that were delivered too often; None means
            that there is none.
        max_deliveries: deliveries after which a message is moved to that queue.
        counted: its backlog can be counted. Where the provider doesn't count by itself, that takes
            some storage, so it is turned off for queues whose backlog is never asked for.
    """

    lease: int = 120
    retention: int = 14 * 86400
    dead_letter: str | None = None
    max_deliveries: int = 15
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Depth:
    """Number of messages in a queue, as far as its provider reports it.

    Attributes:
        visible: messages that could be received now; None if unknown.
        in_flight: messages held by receivers; None if unknown.
        exact: the numbers are no estimates.
    """

    visible: int | None
    in_flight: int | None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Backlog:
    """Number of messages that are not deleted yet: visible, delayed and leased ones together.

    Attributes:
        messages: their number; None if it can't be known.
        exact: a 0 is no estimate.
        at_least: there may be more than that number.
        reason: if it can't be known, why, and what to do about it: a sentence without a full stop.
    """

    messages: int | None = None
    exact: bool = False
    at_least: bool = False
    reason: str = "its provider does not count them"


class MessageQueue(abc.ABC):
    """One queue, for sending, receiving and settling messages. Thread-safe.

    Every method but ``close`` may raise:

    * ``QueueUnavailableError``: it can't be used now; the request may have succeeded or not.
    * ``QueueRefusedError``: no credentials, no permission, wrong address; ``QueueMissingError``:
      there is no such queue. The sentence names provider and queue, and what to do.

    Sequences longer than the limits allow are split into several requests.
    """

    limits: QueueLimits

    def __init__(self, name: str) -> None:
        self.name = name
        #: Requests made so far, by the name of the operation, such as ``receive`` or ``ack``.
        self.requests: Counter[str] = Counter()
        self._requests_lock = threading.Lock()

    def _count(self, operation: str) -> None:
        with self._requests_lock:
            self.requests[operation] += 1

    @abc.abstractmethod
    def check(self) -> QueueInfo:
        """Check by one cheap request that the queue exists and may be used."""

    @abc.abstractmethod
    def receive(self, n: int, *, wait: float, lease: float) -> list[Message]:
        """Return up to *n* messages, and never more than ``limits.receive``.

        Blocks up to *wait* seconds for the first one; an empty list is an ordinary answer. The
        messages stay hidden from other receivers for *lease* seconds.
        """

    @abc.abstractmethod
    def extend(self, messages: Sequence[Message], seconds: float) -> list[Failure]:
        """Make the leases of *messages* end *seconds* from now; clipped to the limits."""

    @abc.abstractmethod
    def ack(self, messages: Sequence[Message]) -> list[Failure]:
        """Delete *messages*. Deleting a message that is gone is no failure."""

    @abc.abstractmethod
    def release(self, messages: Sequence[Message], *, delay: float = 0.0) -> list[Failure]:
        """Make *messages* visible again, after *delay* seconds as far as the provider can."""

    @abc.abstractmethod
    def send(self, messages: Sequence[Outgoing]) -> list[Failure]:
        """Send *messages*; return when the provider has stored them.

        A body over ``limits.message_bytes`` is a failure with ``lost`` set.
        """

    def backlog(self) -> Backlog:
        """Return how many messages are not deleted yet, those that others hold included.

        An adapter of another package need not be able to; the default can't.
        """
        return Backlog()

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connections; a request under way in another thread may fail. Idempotent."""

    def __str__(self) -> str:
        return f"queue {self.name!r}"


class QueueAdmin(abc.ABC):
    """One queue, for creating and deleting it. Raises what :class:`MessageQueue` raises."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abc.abstractmethod
    def create(self, spec: QueueSpec) -> bool:
        """Create the queue; return False if it exists already, which leaves it unchanged."""

    @abc.abstractmethod
    def depth(self) -> Depth:
        """Return the number of its messages, without receiving any."""

    def creation(self) -> str | None:
        """Return what tells the queue from another one of its name, created before or later.

        None: the provider doesn't tell.
        """
        return None

    @abc.abstractmethod
    def purge(self) -> None:
        """Delete all its messages and keep its settings; may take effect a minute later."""

    @abc.abstractmethod
    def delete(self) -> bool:
        """Delete the queue with its messages; return False if there was none."""


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

    def name_problem(self, name: str) -> str | None:
        """Return why no queue can have the *name*, as the end of a sentence; None: it can."""
        return None

    @abc.abstractmethod
    def queue(self, name: str) -> MessageQueue:
        """Return the queue that users call *name*."""

    @abc.abstractmethod
    def admin(self, name: str) -> QueueAdmin:
        """Return the administration of the queue that users call *name*."""
