"""Define the interface of a source of tasks."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cloud_tasks.errors import CloudTasksError, SourceError
from cloud_tasks.sources.entries import raised
from cloud_tasks.task import Batch, Delivery, Malformed


@dataclass(frozen=True, slots=True)
class Limits:
    """Capabilities of a source, as data.

    Attributes:
        requeues: a released delivery comes again; if False, settling does nothing and every task
            runs at most once.
        settle: number of deliveries that are best settled at a time.
        heeds_drain: a waiting ``open`` or ``receive`` returns soon after a ``drain``; if False, a
            signal has to interrupt it.
    """

    requeues: bool = False
    settle: int = 1
    heeds_drain: bool = False


@contextlib.contextmanager
def failing_as_source(source: TaskSource) -> Iterator[None]:
    """Turn whatever the body, which calls *source*, raises into a SourceError.

    ``SystemExit`` and ``KeyboardInterrupt`` included: in a thread of ours they would end nothing
    but the thread, and the run would look done.
    """
    try:
        yield
    except (CloudTasksError, SourceInterrupted):
        raise
    except BaseException as error:
        raise SourceError(f"{source} failed: {raised(error)}") from error


class SourceInterrupted(BaseException):
    """Raised by a signal handler to end a wait in the code of a source, in the main thread."""


class TaskSource(abc.ABC):
    """Source of tasks.

    Methods may block, except ``drain``, ``task_ended`` and ``has_lost``. ``open`` and ``receive``
    are called from one thread; the others from any thread, at the same time as these. The
    constructor only stores its arguments. ``close`` may be called more than once. Whatever else
    than ``SourceInterrupted`` an ``open``, ``receive`` or ``close`` raises is a failure of the
    source and ends the run.

    A delivery that was received is *held* until it is settled by one of ``ack``, ``release`` and
    ``dead_letter``. Settling never raises: a delivery that can't be settled comes again by itself.
    """

    limits: Limits = Limits()

    #: Number of tasks in all, if it is known without reading them.
    total: int | None = None

    @abc.abstractmethod
    def open(self) -> None:
        """Check that the source exists, may be read and begins well.

        Raises:
            SourceError: there are no tasks to be had; one sentence says what, where and what to
                do.
        """

    def clone(self) -> TaskSource | None:
        """Return another source of the same tasks; None if they can be read only once.

        Called between ``open`` and the first ``receive``.
        """
        return None

    def estimate_total(self) -> int | None:
        """Estimate the number of tasks by a quick look; None if it can't be estimated.

        Called between ``open`` and the first ``receive``.
        """
        return self.total

    @abc.abstractmethod
    def receive(self, n: int) -> Batch:
        """Return up to *n* tasks as soon as there is at least one.

        Blocks until there is something to return. Not called again after a batch with ``ended``.

        Raises:
            SourceError: the source broke; the tasks before are good.
        """

    def batches(self, n: int) -> Iterator[Batch]:
        """Yield batches of up to *n* tasks until the source has ended.

        Blocks and raises as ``receive`` does.
        """
        ended = False
        while not ended:
            batch = self.receive(n)
            ended = batch.ended
            yield batch

    def ack(self, deliveries: Sequence[Delivery]) -> None:  # noqa: B027 - a default
        """Remove *deliveries* from the source: their tasks are over."""

    def release(  # noqa: B027 - a default
        self, deliveries: Sequence[Delivery], *, delay: float = 0.0
    ) -> None:
        """Give *deliveries* back, to be delivered again *delay* seconds from now."""

    def dead_letter(  # noqa: B027 - a default
        self, items: Sequence[Delivery | Malformed]
    ) -> None:
        """Move *items* to the place for tasks that were given up; they are not tried again."""

    def task_ended(self, delivery: Delivery) -> None:  # noqa: B027 - a default
        """Make room for another task: that of *delivery* is over and will be settled soon."""

    def set_aside(self, deliveries: Sequence[Delivery]) -> None:  # noqa: B027 - a default
        """Hold *deliveries* without running them, until ``close`` gives them back."""

    def has_lost(self, delivery: Delivery) -> bool:
        """Tell whether the lease of *delivery* is over, so that it may run elsewhere, too."""
        return False

    @property
    def waiting(self) -> int:
        """The number of tasks that are held and that ``receive`` has not returned. Any thread."""
        return 0

    def drain(self, *, now: bool = False) -> None:  # noqa: B027 - a default
        """Deliver nothing more; tasks that were not received yet go back.

        A waiting ``open`` or ``receive`` returns if ``limits.heeds_drain`` is set.

        Args:
            now: don't wait for requests that are under way.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Give back all that is held, and release all resources.

        A ``receive`` that is blocked in a program's own code need not return.

        Raises:
            SourceError: closing failed, such as a generator's own clean-up.
        """
