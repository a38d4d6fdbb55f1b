"""As much as one request can take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

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
