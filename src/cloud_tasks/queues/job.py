"""Name, size, empty and delete the queues of a job, and open a queue whose requests are retried.

A job has three queues: NAME for its tasks, NAME-events for their events, and NAME-dead for the
tasks that were given up. Every program opens them here, so trouble is reported in one sentence.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from cloud_tasks.errors import ConfigurationError, QueueError, QueueMissingError
from cloud_tasks.queues.base import (
    Depth,
    MessageQueue,
    QueueAdmin,
    QueueProvider,
    QueueSpec,
    dead_name,
    events_name,
)
from cloud_tasks.queues.retrying import RetryingQueue

T = TypeVar("T")

#: Of the queues, by their role.
_PURPOSES = {"tasks": "tasks", "events": "events", "dead": "tasks that are given up"}

#: A task that is handed back was delivered, too: the provider's limit of deliveries is that many
#: above ours of attempts.
_SPARE_DELIVERIES = 10


@dataclass(frozen=True, slots=True)
class JobQueues:
    """The queues of one job at one provider.

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

    def check_names(self) -> None:
        """Check that the provider takes the names of all three queues; makes no request.

        Raises:
            ConfigurationError: it doesn't.
        """
        for role, name in self.roles.items():
            problem = self.provider.name_problem(name)
            if problem is not None:
                raise ConfigurationError(
                    f"no job can have queues called {self.name!r}: the full name of that for "
                    f"{_PURPOSES[role]} {problem}; give another --queue-name or --job-id"
                )

    def task_queue_spec(self, *, lease: float, max_attempts: int) -> QueueSpec:
        """Return how the task queue is to be created.

        Args:
            lease: in seconds; a worker extends it while it holds a task.
            max_attempts: failed attempts after which a task is given up; 0: never.
        """
        return QueueSpec(
            lease=math.ceil(lease),
            dead_letter=self.dead if max_attempts else None,
            max_deliveries=max_attempts + _SPARE_DELIVERIES,
        )

    def depths(self) -> dict[str, Depth | None]:
        """Return how many messages each queue holds, by name; None: there is no such queue.

        Raises:
            QueueMissingError: none of the queues exists.
            QueueError: the provider doesn't answer, or refuses.
        """
        return self._each(list(self.roles.values()), lambda admin: admin.depth())

    def purge(self, names: Sequence[str]) -> dict[str, bool]:
        """Delete all messages of the queues *names*; returns for each whether it existed.

        Raises:
            QueueMissingError: none of the queues exists.
            QueueError: the provider doesn't answer, or refuses.
        """

        def purge(admin: QueueAdmin) -> bool:
            admin.purge()
            return True

        return {name: bool(done) for name, done in self._each(names, purge).items()}

    def delete(self, names: Sequence[str]) -> dict[str, bool]:
        """Delete the queues *names*; returns for each whether it existed.

        Raises:
            QueueError: the provider doesn't answer, or refuses.
        """
        return {name: self.provider.admin(name).delete() for name in names}

    def _each(self, names: Sequence[str], do: Callable[[QueueAdmin], T]) -> dict[str, T | None]:
        """Do something with each queue; None for one that is missing, unless all are."""
        done: dict[str, T | None] = {}
        first: QueueMissingError | None = None
        for name in names:
            try:
                done[name] = do(self.provider.admin(name))
            except QueueMissingError as error:
                first = first or error
                done[name] = None
        if first is not None and all(value is None for value in done.values()):
            raise first
        return done


def with_retries(
    queue: MessageQueue,
    stop: threading.Event,
    *,
    notify: Callable[[str], None],
    budgets: Mapping[str, float] | None = None,
) -> RetryingQueue:
    """Return *queue* with retries; makes no request.

    *stop* and *budgets* are those of :class:`RetryingQueue`; *notify* is called with a sentence
    where its ``on_trouble`` is called.
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
