"""What every destination of events can do."""

from __future__ import annotations

import abc


class EventSink(abc.ABC):
    """Takes events, each one a line of JSON without its line end. Called by one thread a time."""

    @abc.abstractmethod
    def open(self) -> None:
        """Make sure that events can be written.

        Raises:
            EventLogError: they can't; one sentence says what, where and what to do.
        """

    @abc.abstractmethod
    def write(self, lines: list[bytes]) -> None:
        """Make *lines* durable, all of them; returns when they are.

        Raises:
            EventLogError: it could not now. Call again with the same lines: none of them is
                then there twice, or in part.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of everything. May be called more than once."""
