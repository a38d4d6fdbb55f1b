"""A call's messages, one request at a time, so that a repeat repeats no more than it must."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from cloud_tasks.errors import QueueUnavailableError
from cloud_tasks.queues.base import Failure, Message, Outgoing, QueueLimits

Item = TypeVar("Item", Message, Outgoing)


class SomeFailedError(QueueUnavailableError):
    """Messages of a request failed that could succeed if it was repeated."""


class Part(Generic[Item]):
    """Some of the messages of a call.

    Attributes:
        failed: what the latest try failed with, by the place in the call; it may be tried again.
        lost: what must not be tried again.
    """

    def __init__(
        self,
        items: Sequence[Item],
        indexes: list[int],
        request: Callable[[Sequence[Item]], list[Failure]],
    ) -> None:
        self.failed: list[Failure] = []
        self.lost: list[Failure] = []
        self._items: Sequence[Item] = items
        self._pending = indexes
        self._request: Callable[[Sequence[Item]], list[Failure]] = request

    def attempt(self) -> None:
        """Make the request for what is still to be dealt with.

        Raises:
            SomeFailedError: some of it is left.
        """
        answers = self._request([self._items[index] for index in self._pending])
        failures = [replace(answer, index=self._pending[answer.index]) for answer in answers]
        self.lost += [failure for failure in failures if failure.lost]
        self.failed = [failure for failure in failures if not failure.lost]
        asked, self._pending = len(self._pending), [failure.index for failure in self.failed]
        if self.failed:
            left = len(self.failed)
            raise SomeFailedError(f"{left} of {asked} messages failed: {self.failed[0].reason}")


def parts(
    items: Sequence[Item],
    limits: QueueLimits,
    request: Callable[[Sequence[Item]], list[Failure]],
) -> Iterator[Part[Item]]:
    """Divide *items* as an adapter would: into one part for each *request*."""
    sending = bool(items) and isinstance(items[0], Outgoing)
    sized = (
        (index, len(item.body) if isinstance(item, Outgoing) else 0)
        for index, item in enumerate(items)
    )
    most = limits.send if sending else limits.settle
    for indexes in chunks(sized, most, limits.request_bytes):
        yield Part(items, indexes, request)


# MERGED: As much as one request can take.

T = TypeVar("T")


def chunks(sized: Iterable[tuple[T, int]], most: int, most_bytes: int) -> Iterator[list[T]]:
    """Yield the items of *sized* in order, so many and of so many bytes at a time.

    Args:
        sized: each with its bytes.
        most: in one list.
        most_bytes: in one list, unless a single item has more.
    """
    chunk: list[T] = []
    room = most_bytes
    for item, size in sized:
        if chunk and (len(chunk) == most or size > room):
            yield chunk
            chunk, room = [], most_bytes
        chunk.append(item)
        room -= size
    if chunk:
        yield chunk
