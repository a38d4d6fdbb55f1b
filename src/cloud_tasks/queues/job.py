"""Name the queues of a job, and open a queue whose requests are retried.

A job has three queues: NAME for its tasks, NAME-events for their events, and NAME-dead for the
tasks that were given up. Every program opens them here, so trouble is reported in one sentence.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cloud_tasks.errors import QueueError
from cloud_tasks.queues.base import MessageQueue, QueueProvider, dead_name, events_name
from cloud_tasks.queues.retrying import RetryingQueue


@dataclass(frozen=True, slots=True)
class JobQueues:
    """The queues of one job.

    Attributes:
        provider_name: name of the provider in the registry.
        provider: makes the queues.
        name: name of the task queue.
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
        """The names of all three queues, by their role."""
        return {"tasks": self.name, "events": self.events, "dead": self.dead}


def with_retries(
    queue: MessageQueue,
    stop: threading.Event,
    *,
    notify: Callable[[str], None],
    budgets: Mapping[str, float] | None = None,
) -> RetryingQueue:
    """Return *queue* with retries; makes no request.

    Args:
        queue: makes the requests.
        stop: once set, nothing is retried any more.
        notify: called with a sentence, in the thread of the request, when an operation first
            fails, and then once a minute until it works; must not raise.
        budgets: seconds that operations are retried for, where the default doesn't fit.
    """

    def on_trouble(operation: str, error: QueueError, seconds: float) -> None:
        since = f" for {seconds:.0f} s" if seconds >= 1 else ""
        notify(f"{queue}: {operation} fails{since}, trying again: {error}")

    return RetryingQueue(queue, stop=stop, budgets=budgets, on_trouble=on_trouble)


@contextlib.contextmanager
def opened(
    queue: MessageQueue,
    stop: threading.Event,
    *,
    notify: Callable[[str], None],
    budgets: Mapping[str, float] | None = None,
) -> Iterator[RetryingQueue]:
    """Open *queue* with retries for a ``with`` block; at its end, set *stop* and close the queue.

    The arguments are those of :func:`with_retries`.
    """
    try:
        yield with_retries(queue, stop, notify=notify, budgets=budgets)
    finally:
        stop.set()
        queue.close()
