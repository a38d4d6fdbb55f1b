"""Define the interface of every destination of events."""

from __future__ import annotations

import abc
from collections.abc import Callable


class EventSink(abc.ABC):
    """A destination of events, each a line of JSON without its line end.

    One thread at a time calls it.

    Attributes:
        on_loss: called by ``write`` with a sentence each time others have removed events that were
            written before; None: such a sentence is logged.
    """

    on_loss: Callable[[str], None] | None = None

    @abc.abstractmethod
    def open(self) -> None:
        """Make sure that events can be written.

        Raises:
            EventLogError: they can't; the message says what, where and what to do.
        """

    @abc.abstractmethod
    def write(self, lines: list[bytes]) -> None:
        """Make *lines* durable, all of them; blocks until they are.

        Raises:
            EventLogError: it failed. Call again with the same lines: none of them is then
                written twice, or in part.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Release all resources. May be called more than once."""
