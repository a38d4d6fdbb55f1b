"""Define how a run chooses tasks, and the choice of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery


class Selection:
    """A choice of the deliveries to run, made in their order; subclasses override ``choose``.

    A run calls ``prepare``, ``plan``, then ``choose`` for all deliveries but the skipped ones,
    then ``finish``; all but ``prepare`` in the dispatcher's thread.

    Attributes:
        to_run: number of tasks that will run, or None while it is unknown.
        selects: False promises that ``choose`` would accept every delivery.
        finished_before: tasks left out because an earlier run had finished them.
        failed_before: tasks left out because they failed in an earlier run.
        complete: the rest of the source is not needed.
    """

    to_run: int | None = None
    selects = True
    finished_before = 0
    failed_before = 0
    complete = False

    def prepare(self, stopped: Callable[[], bool]) -> None:
        """Read what is needed, before this run writes anything; blocks, until *stopped*.

        Raises:
            HistoryError: the log of the earlier run can't be read.
        """

    def plan(self, source: TaskSource, skip: int, stopped: Callable[[], bool]) -> None:
        """Look ahead where *source* can be read twice; blocks, until *stopped*.

        Args:
            source: the source, open.
            skip: number of deliveries at its beginning that ``choose`` will not get.
            stopped: returns True when the run ends before its first task.
        """

    @property
    def ahead(self) -> int:
        """Return how many of the next deliveries, at least, are left out."""
        return 0

    def choose(self, deliveries: Sequence[Delivery]) -> Sequence[int]:
        """Return for each of *deliveries*, the next ones, 1 if it is run and 0 if not."""
        raise NotImplementedError

    def finish(self, skipped: int) -> None:
        """Check the result at the end of the source, of which *skipped* deliveries were skipped.

        Raises:
            SourceError: it lacks tasks that were asked for.
        """


class SelectAll(Selection):
    """Select all tasks."""

    selects = False

    def choose(self, deliveries: Sequence[Delivery]) -> Sequence[int]:
        """Return 1 for each of *deliveries*."""
        return b"\1" * len(deliveries)
