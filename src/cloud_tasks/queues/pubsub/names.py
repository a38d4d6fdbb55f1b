"""What a queue is called in Pub/Sub."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one queue, short and whole.

    Attributes:
        queue: as users call it.
        project: whose it is.
    """

    queue: str
    project: str

    @property
    def topic(self) -> str:
        """What messages are sent to."""
        return f"projects/{self.project}/topics/{self.queue}-topic"

    @property
    def subscription(self) -> str:
        """What they are received from."""
        return f"projects/{self.project}/subscriptions/{self.queue}-subscription"

    def of(self, queue: str) -> Names:
        """Return the names of another queue of the same project."""
        return Names(queue, self.project)
