"""Define how a run chooses tasks, and the choice of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery

#: Deliveries that are looked at in one go.
_AT_ONCE = 4096


class Selection:
    """Decides which deliveries are run, in the order of the source; this one takes them all.

    Attributes:
        to_run: how many will be run, where that is known.
        selects: it may leave some out.
        finished_before: tasks left out because an earlier run had finished them.
        failed_before: tasks left out because they failed there.
        complete: nothing else of the source is wanted.
    """

    to_run: int | None = None
    selects = True
    finished_before = 0
    failed_before = 0
    complete = False

    def prepare(self, stopped: Callable[[], bool]) -> None:
        """Read what is needed, before this run writes anything; blocks, until *stopped*.

        Raises:
            HistoryError: it can't be read.
        """

    def plan(self, source: TaskSource, skip: int, stopped: Callable[[], bool]) -> None:
        """Look ahead where *source* can be read twice; blocks, until *stopped*.

        Args:
            source: open.
            skip: so many deliveries will not be shown to ``choose``.
            stopped: tells whether nobody wants to know any more.
        """

    @property
    def ahead(self) -> int:
        """So many of the next deliveries, at least, are left out."""
        return 0

    def choose(self, deliveries: Sequence[Delivery]) -> Sequence[int]:
        """Return for each of *deliveries*, the next ones, 1 if it is run and 0 if not."""
        return b"\1" * len(deliveries)

    def finish(self, skipped: int) -> None:
        """The source has ended, after *skipped* deliveries that ``choose`` never saw.

        Raises:
            SourceError: something that was asked for was not in it.
        """


class Everything(Selection):
    """Leaves nothing out."""

    selects = False
