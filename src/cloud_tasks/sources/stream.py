"""Read a stream of entries by one thread, the base of all local sources."""

from __future__ import annotations

import abc
import itertools
import threading
from collections.abc import Iterator
from typing import cast

from cloud_tasks.errors import SourceError
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.entries import Item
from cloud_tasks.task import Batch, Delivery, Malformed


class StreamSource(TaskSource):
    """Source that reads entries one after the other and delivers each once.

    A subclass opens its stream in :meth:`_begin` and closes it in :meth:`_dispose`. Entries that
    were read before an error are delivered before it is raised.
    """

    #: The next entry may take long to come, so each is delivered at once.
    _live = True

    def __init__(self) -> None:
        self._items: Iterator[Item] = iter(())
        self._failure: SourceError | None = None
        self._lock = threading.Lock()
        self._busy = False
        self._closed = False

    @abc.abstractmethod
    def _begin(self) -> Iterator[Item]:
        """Open the stream and return its entries; leave nothing open if this raises."""

    @abc.abstractmethod
    def _dispose(self) -> None:
        """Close the stream; called at its end and at ``close``, so maybe twice.

        Raises:
            SourceError: the program's own clean-up failed.
        """

    def open(self) -> None:
        """Open the stream and check its beginning; blocks until that has come.

        Raises:
            SourceError: as for any source.
            ConfigurationError: a package that is needed to read it is not installed.
        """
        if not self._enter():
            return
        try:
            self._items = self._begin()
        finally:
            self._leave()

    def receive(self, n: int) -> Batch:
        """Return up to *n* tasks; one entry at a time from a stream that may block.

        Blocks until there is an entry, or the end. After ``close`` there are no more.
        """
        if not self._enter():
            return Batch(ended=True)
        try:
            return self._gather(1 if self._live else max(n, 1))
        finally:
            self._leave()

    def close(self) -> None:
        """Close the stream; a ``receive`` that is under way closes it when it returns."""
        with self._lock:
            self._closed = True
            if self._busy:
                # Closing a descriptor during a blocked read would free its number for another
                # file, and a generator can't be closed while it runs.
                return
        self._dispose()

    def _enter(self) -> bool:
        with self._lock:
            if self._closed:
                return False
            self._busy = True
            return True

    def _leave(self) -> None:
        with self._lock:
            self._busy = False
            closed = self._closed
        if closed:
            self._dispose()

    def _gather(self, limit: int) -> Batch:
        if self._failure:
            raise self._failure
        items: list[Item] = []
        try:
            # extend() keeps the items that came before an error.
            items.extend(itertools.islice(self._items, limit))
            ended = len(items) < limit
            if ended:
                self._dispose()
        except SourceError as error:
            self._failure = error
            if not items:
                raise
            ended = False
        if Malformed not in map(type, items):
            # The usual case: testing each of a million items again would take long.
            return Batch(tuple(cast("list[Delivery]", items)), (), ended)
        deliveries = tuple(item for item in items if type(item) is Delivery)
        malformed = tuple(item for item in items if type(item) is Malformed)
        return Batch(deliveries, malformed, ended)
