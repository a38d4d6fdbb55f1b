"""Find and open the queues of a job: tasks, events, dead letters."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cloud_tasks.errors import QueueError
from cloud_tasks.queues.base import MessageQueue, QueueProvider
from cloud_tasks.queues.names import dead_name, events_name
from cloud_tasks.queues.retrying import RetryingQueue


@dataclass(frozen=True, slots=True)
class JobQueues:
    """The queues that a command works on.

    Attributes:
        provider_name: as the registry has it.
        provider: makes the queues.
        name: of the task queue.
    """

    provider_name: str
    provider: QueueProvider
    name: str

    @property
    def events(self) -> str:
        """The name of the event queue."""
        return events_name(self.name)

    @property
    def dead(self) -> str:
        """The name of the queue for tasks that were given up."""
        return dead_name(self.name)

    @property
    def roles(self) -> dict[str, str]:
        """The names of all three, by what they are for."""
        return {"tasks": self.name, "events": self.events, "dead": self.dead}


@contextlib.contextmanager
def opened(
    queue: MessageQueue,
    stop: threading.Event,
    *,
    say: Callable[[str], None],
    budgets: Mapping[str, float] | None = None,
) -> Iterator[MessageQueue]:
    """Give *queue* with patience for what passes, and close it.

    Args:
        queue: makes the requests.
        stop: once set, patience is over; it is set at the end.
        say: is told of trouble, at first and once a minute.
        budgets: how many seconds operations go on trying, where the usual isn't right.
    """

    def on_trouble(operation: str, error: QueueError, seconds: float) -> None:
        say(f"{operation} fails, trying on: {error}")

    try:
        yield RetryingQueue(queue, stop=stop, budgets=budgets, on_trouble=on_trouble)
    finally:
        stop.set()
        queue.close()
