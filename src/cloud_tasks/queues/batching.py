"""Split the messages of one call into requests, and repeat of each only the messages that failed.

    send(messages) ──► chunks() ──► request of ≤ limits.send messages ──► done
                                    request ──► some failed ──► those alone, in the next attempt
                                    ...

Adapters use :func:`chunks` to keep within their limits; :class:`~cloud_tasks.queues.retrying.
RetryingQueue` makes one :class:`Request` of each chunk, so that a repeat sends no message twice
that the provider already has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from cloud_tasks.errors import QueueUnavailableError
from cloud_tasks.queues.base import Failure, Message, Outgoing, QueueLimits

T = TypeVar("T")
Item = TypeVar("Item", Message, Outgoing)


def chunks(sized: Iterable[tuple[T, int]], max_items: int, max_bytes: int) -> Iterator[list[T]]:
    """Yield the items in order, in lists of at most *max_items* items and *max_bytes* bytes.

    Each item comes with its size in bytes; one above *max_bytes* gets a list of its own.
    """
    chunk: list[T] = []
    room = max_bytes
    for item, size in sized:
        if chunk and (len(chunk) == max_items or size > room):
            yield chunk
            chunk, room = [], max_bytes
        chunk.append(item)
        room -= size
    if chunk:
        yield chunk


class SomeFailedError(QueueUnavailableError):
    """Messages of a request failed that could succeed if they were tried again."""


@dataclass(eq=False)
class Request(Generic[Item]):
    """One request for some of the messages of a call; repeating it repeats only what failed.

    Attributes:
        items: the messages of the call.
        pending: indexes of those that have neither succeeded nor got lost.
        operation: makes the request.
        failed: failures of the latest attempt that may be tried again; indexes are of the call.
        lost: failures of all attempts that must not be tried again.
    """

    items: Sequence[Item]
    pending: list[int]
    operation: Callable[[Sequence[Item]], list[Failure]]
    failed: list[Failure] = field(default_factory=list)
    lost: list[Failure] = field(default_factory=list)

    def attempt(self) -> None:
        """Make the request for the pending messages.

        Raises:
            SomeFailedError: some of them failed.
        """
        answers = self.operation([self.items[index] for index in self.pending])
        failures = [replace(answer, index=self.pending[answer.index]) for answer in answers]
        self.lost += [failure for failure in failures if failure.lost]
        self.failed = [failure for failure in failures if not failure.lost]
        attempted, self.pending = len(self.pending), [failure.index for failure in self.failed]
        if self.failed:
            reason = self.failed[0].reason
            raise SomeFailedError(f"{len(self.failed)} of {attempted} messages failed: {reason}")


def split_into_requests(
    items: Sequence[Item],
    limits: QueueLimits,
    operation: Callable[[Sequence[Item]], list[Failure]],
) -> Iterator[Request[Item]]:
    """Yield a request of *operation* for each part of *items* that an adapter sends in one."""
    sending = bool(items) and isinstance(items[0], Outgoing)
    sized = (
        (index, len(item.body) if isinstance(item, Outgoing) else 0)
        for index, item in enumerate(items)
    )
    max_items = limits.send if sending else limits.settle
    for indexes in chunks(sized, max_items, limits.request_bytes):
        yield Request(items, indexes, operation)
