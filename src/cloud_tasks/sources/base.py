"""What every source of tasks can do."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from cloud_tasks.task import Batch, Delivery


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source can do, as data.

    Attributes:
        requeues: a released delivery comes again; where False, ``ack`` and ``release`` do
            nothing and every task runs at most once.
    """

    requeues: bool = False


class TaskSource(abc.ABC):
    """Gives out tasks. Methods may block, and are called from one thread, but for ``close``.

    The constructor only stores; ``open`` opens. ``close`` may be called at any time, from any
    thread, and more than once.
    """

    limits: Limits = Limits()

    #: How many tasks it will give in all, where that is known without reading them.
    total: int | None = None

    @abc.abstractmethod
    def open(self) -> None:
        """Make sure that tasks can be had: it exists, it may be read, it begins well.

        Raises:
            SourceError: it can't give tasks; one sentence says what, where and what to do.
        """

    @abc.abstractmethod
    def receive(self, n: int) -> Batch:
        """Return up to *n* tasks as soon as there is at least one.

        Blocks until there is something to return. After a batch with ``ended`` it is not called
        again.

        Raises:
            SourceError: the source broke; what it gave before is good.
        """

    def ack(self, deliveries: Sequence[Delivery]) -> None:  # noqa: B027 - a default
        """The tasks are over: forget them."""

    def release(self, deliveries: Sequence[Delivery]) -> None:  # noqa: B027 - a default
        """The tasks are not over: somebody shall run them again."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of everything; a blocked ``receive`` need not return."""
