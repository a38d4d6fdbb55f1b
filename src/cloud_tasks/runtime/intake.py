"""Which tasks come in: skipping the first, choosing, stopping after so many.

In this order. What is left out, and what is no task, is set aside and counted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.selection.base import Everything, Selection
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery, Malformed

#: Tasks are handed over this many seconds before a slot will be free for them.
_AHEAD = 0.05
#: And never more than this many, in all and for each slot: what waits makes work for the cycle
#: collector.
_MOST_AHEAD, _MOST_AHEAD_PER_SLOT = 1024, 48


class Intake:
    """Takes deliveries from *source*.

    Args:
        source: opened.
        stats: counts what is left out.
        skip: leave out the first so many tasks.
        most: start no more than so many; None: no limit.
        selection: chooses among the others.

    Attributes:
        ended: nothing more will come.
        limited: it ended because of *most*.
        first_bad: the first few bad entries, for the final error.
    """

    def __init__(
        self,
        source: TaskSource,
        stats: Stats,
        *,
        skip: int = 0,
        most: int | None = None,
        selection: Selection | None = None,
    ) -> None:
        self._source = source
        self._stats = stats
        self._skip = self._to_skip = skip
        self._most = most
        self._left = math.inf if most is None else most
        self._selection = selection or Everything()
        self.ended = self._left == 0
        self.limited = self.ended
        self.first_bad: list[Malformed] = []

    def begin(self, stopped: Callable[[], bool]) -> None:
        """Find out how many tasks there will be, where that can be known; may block for long.

        Args:
            stopped: tells whether nobody wants to know any more.
        """
        self._selection.plan(self._source, self._skip, stopped)
        self._stats.total = self.expected()
        if self._stats.total is None and not self._selection.selects:
            self._stats.guessed_total = self._within_limits(self._source.estimate_total())
        self._note_selection()

    def take(self, n: int) -> tuple[list[Delivery], list[Malformed]]:
        """Return up to *n* tasks to run, and bad entries.

        Blocks until the source has given something, which may all be left out: then there is
        nothing to run this time.

        Raises:
            SourceError: the source broke.
        """
        ahead = self._to_skip + self._selection.ahead
        batch = self._source.receive(int(min(n + ahead, max(self._left, 1) + ahead, 4096)))
        deliveries = list(batch.deliveries)
        if self._to_skip:
            left_out = min(self._to_skip, len(deliveries))
            self._source.set_aside(deliveries[:left_out])
            self._to_skip -= left_out
            self._stats.skipped += left_out
            deliveries = deliveries[left_out:]
        deliveries = self._chosen(deliveries)
        self._left -= len(deliveries)
        self._stats.bad_entries += len(batch.malformed)
        self.first_bad += batch.malformed[: max(0, 5 - len(self.first_bad))]
        self._note_selection()
        self.ended = self.ended or batch.ended
        self.limited = self._left <= 0 and not self.ended
        self.ended = self.ended or self.limited
        return deliveries, list(batch.malformed)

    def _chosen(self, deliveries: list[Delivery]) -> list[Delivery]:
        if not (self._selection.selects and deliveries):
            return deliveries
        flags = self._selection.choose(deliveries)
        left_out = list(itertools.compress(deliveries, (not flag for flag in flags)))
        if left_out:
            self._source.set_aside(left_out)
        return list(itertools.compress(deliveries, flags))

    def _note_selection(self) -> None:
        self._stats.finished_before = self._selection.finished_before
        self._stats.failed_before = self._selection.failed_before
        if self._selection.complete and not self._to_skip:
            self.ended = True

    def finish(self) -> None:
        """Make sure that all was there that was asked for; after the last task went on its way.

        Raises:
            SourceError: it was not.
        """
        if not self._source.limits.requeues:
            self._stats.total = self._stats.submitted
        if not self.limited:
            self._selection.finish(self._stats.skipped)

    def expected(self) -> int | None:
        """Return how many tasks there will be to run, where that is known."""
        rest = self._selection.to_run
        if rest is None:
            if self._source.total is None or self._selection.selects:
                return None
            return self._within_limits(self._source.total)
        return rest if self._most is None else min(rest, self._most)

    def _within_limits(self, total: int | None) -> int | None:
        if total is None:
            return None
        rest = max(0, total - self._skip)
        return rest if self._most is None else min(rest, self._most)

    def error(self) -> TaskFormatError | None:
        """Return what is to be said of the bad entries, if there were any."""
        count = self._stats.bad_entries
        if not count:
            return None
        first = "; ".join(str(entry) for entry in self.first_bad)
        more = f"; and {count - len(self.first_bad)} more" if count > len(self.first_bad) else ""
        noun = "entry of the source was no task" if count == 1 else "entries were no tasks"
        return TaskFormatError(f"{count} {noun}: {first}{more}")


def lookahead(slots: int, mean_elapsed_time: float | None, *, hoard: bool = True) -> int:
    """Return how many tasks to hand over beyond those that run.

    Long tasks need one that waits, unless others could run it meanwhile (not *hoard*); short
    ones so many that no slot is idle while the dispatcher is not looking.
    """
    if not mean_elapsed_time:
        return slots if hoard else 0
    wanted = slots * _AHEAD / mean_elapsed_time
    most = min(_MOST_AHEAD, slots * _MOST_AHEAD_PER_SLOT)
    return min(most, max(1, math.ceil(wanted)) if hoard else math.floor(wanted))
