"""From settings to a provider's queues: where tasks come from, and where events go."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from cloud_tasks import registry
from cloud_tasks.clock import Clock
from cloud_tasks.errors import QueueError
from cloud_tasks.events.queue import QueueSink
from cloud_tasks.queues.base import MessageQueue, QueueProvider
from cloud_tasks.queues.names import dead_name, events_name
from cloud_tasks.queues.retrying import RetryingQueue
from cloud_tasks.settings.table import Settings
from cloud_tasks.sources.cloud_queue.prefetch import PrefetchPolicy
from cloud_tasks.sources.cloud_queue.settler import Settler
from cloud_tasks.sources.cloud_queue.source import QueueSource

logger = logging.getLogger(__name__)


#: Seconds that a task may wait before it runs, and that telling its end may take.
_AROUND_A_TASK = 200.0


def unfit_runtime(settings: Settings) -> str | None:
    """Say why tasks can't be held for ``max_runtime``; None: they can.

    Raises:
        ConfigurationError: no such provider.
    """
    longest = _provider_class(settings).limits.longest_hold - _AROUND_A_TASK
    if settings.max_runtime <= longest:
        return None
    return (
        f"must be {longest:.0f} or less, for {settings.provider} gives a task to another worker "
        "after 12 hours, running or not: split the tasks, or use --provider GCP or --task-file"
    )


def _provider_class(settings: Settings) -> type[QueueProvider]:
    found: type[QueueProvider] = registry.load("queue", str(settings.provider))
    return found


def make_provider(settings: Settings) -> QueueProvider:
    """Return the queues that *settings* name."""
    return _provider_class(settings)(
        project_id=settings.project_id,
        endpoint_url=settings.endpoint_url,
        exactly_once=settings.exactly_once_queue,
    )


def make_queue_source(
    settings: Settings, *, slots: int, mean_time: Callable[[], float | None], clock: Clock
) -> QueueSource:
    """Return the tasks of the queue that *settings* name; nothing is asked of it yet."""
    provider = make_provider(settings)
    name = str(settings.queue_name)
    queue = provider.queue(name)
    dead = provider.queue(dead_name(name))
    draining, ending = threading.Event(), threading.Event()
    return QueueSource(
        RetryingQueue(queue, stop=draining, on_trouble=_Warning(queue)),
        Settler(
            RetryingQueue(queue, stop=ending, on_trouble=_Warning(queue)),
            RetryingQueue(dead, stop=ending, on_trouble=_Warning(dead)),
            stop=ending,
            clock=clock,
        ),
        lease=float(settings.lease or 0.0),
        appetite=PrefetchPolicy(
            slots=slots,
            mean_time=mean_time,
            most=settings.max_num_tasks,
            idle=settings.exit_when_idle,
        ),
        stop=draining,
        clock=clock,
    )


def make_event_queue(settings: Settings) -> QueueSink:
    """Return the sink for the event queue that *settings* name."""
    queue = make_provider(settings).queue(events_name(str(settings.queue_name)))
    # A worker that can't tell what it did waits; it doesn't lose anything meanwhile.
    budgets = {"send": math.inf}
    return QueueSink(
        RetryingQueue(queue, stop=threading.Event(), budgets=budgets, on_trouble=_Warning(queue))
    )


class _Warning:
    """Says that requests to *queue* fail."""

    def __init__(self, queue: MessageQueue) -> None:
        self._queue = queue

    def __call__(self, operation: str, error: QueueError, seconds: float) -> None:
        since = f" for {seconds:.0f} s" if seconds >= 1 else ""
        logger.warning("%s: %s fails%s, trying again: %s", self._queue, operation, since, error)
