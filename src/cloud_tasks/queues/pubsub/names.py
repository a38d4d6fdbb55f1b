"""Name the topic and the subscription of a queue."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LONGEST_SUFFIX = "-subscription"
#: Longest id of a topic or subscription.
_MAX_ID = 255
_ID = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]+")


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
        return f"projects/{self.project}/subscriptions/{self.queue}{_LONGEST_SUFFIX}"

    @property
    def count(self) -> str:
        """The full name of the subscription by which the queue's backlog is counted."""
        return f"projects/{self.project}/subscriptions/{self.queue}-count"

    @property
    def problem(self) -> str | None:
        """Why Pub/Sub takes no such names, as the end of a sentence; None if it does."""
        longest = f"{self.queue}{_LONGEST_SUFFIX}"
        if len(longest) > _MAX_ID:
            return f"has {len(longest)} characters, and Pub/Sub allows {_MAX_ID}"
        if not _ID.fullmatch(longest) or longest.lower().startswith("goog"):
            return (
                "does not begin with a letter, begins with 'goog', or has other characters than "
                "letters, digits and -._~+% of ASCII"
            )
        return None

    def of(self, queue: str) -> Names:
        """Return the names of another queue of the same project."""
        return Names(queue, self.project)
