"""Name the topic and the subscription of a queue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one queue: its users' in the project of that id, and Google's."""

    queue: str
    project: str

    @property
    def topic(self) -> str:
        """The full name of the topic, to which messages are sent."""
        return f"projects/{self.project}/topics/{self.queue}-topic"

    @property
    def subscription(self) -> str:
        """The full name of the subscription, from which messages are received."""
        return f"projects/{self.project}/subscriptions/{self.queue}-subscription"

    @property
    def count(self) -> str:
        """The full name of the subscription by which the queue's backlog is counted."""
        return f"projects/{self.project}/subscriptions/{self.queue}-count"

    def of(self, queue: str) -> Names:
        """Return the names of another queue of the same project."""
        return Names(queue, self.project)
