"""What every source of tasks can do."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from cloud_tasks.task import Batch, Delivery, Malformed


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source can do, as data.

    Attributes:
        requeues: a released delivery comes again; where False, settling does nothing and every
            task runs at most once.
        settle: how many deliveries are best settled at a time.
        heeds_drain: an ``open`` or a ``receive`` that waits ends soon after a ``drain``. Where
            not, a signal has to interrupt it.
    """

    requeues: bool = False
    settle: int = 1
    heeds_drain: bool = False


class TaskSource(abc.ABC):
    """Gives out tasks. Methods may block, but for ``drain``, ``task_ended`` and ``has_lost``.

    ``open`` and ``receive`` are called from one thread; the others from any, also meanwhile. The
    constructor only stores; ``open`` opens. ``close`` may be called more than once.

    A delivery that was received is *held* until it is settled by one of ``ack``, ``release`` and
    ``dead_letter``. Settling never raises: what can't be settled comes again by itself.
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

    def again(self) -> TaskSource | None:
        """Return another source of the same tasks, to look ahead; None: they come only once.

        Called between ``open`` and the first ``receive``.
        """
        return None

    def guess_total(self) -> int | None:
        """Return about how many tasks it will give, by a quick look; None: who knows.

        Called between ``open`` and the first ``receive``.
        """
        return self.total

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

    def release(  # noqa: B027 - a default
        self, deliveries: Sequence[Delivery], *, delay: float = 0.0
    ) -> None:
        """The tasks are not over: somebody shall run them again, *delay* seconds from now."""

    def dead_letter(  # noqa: B027 - a default
        self, items: Sequence[Delivery | Malformed]
    ) -> None:
        """Nobody shall try again: put them where people look for what was given up."""

    def task_ended(self, delivery: Delivery) -> None:  # noqa: B027 - a default
        """The task of *delivery* is over, and will be settled soon: there is room for another."""

    def set_aside(self, deliveries: Sequence[Delivery]) -> None:  # noqa: B027 - a default
        """They are not wanted here: keep them from others, until ``close`` gives them back."""

    def has_lost(self, delivery: Delivery) -> bool:
        """Tell whether *delivery* isn't ours any more, so that it runs elsewhere, too."""
        return False

    def drain(self, *, now: bool = False) -> None:  # noqa: B027 - a default
        """Give out nothing more: what nobody received goes back.

        A waiting ``open`` or ``receive`` ends, where ``limits.heeds_drain`` says so.

        Args:
            now: nobody waits for requests that are under way.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what is held, and let go of everything.

        A ``receive`` that is blocked in a program's own code need not return.
        """
