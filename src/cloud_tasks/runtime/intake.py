"""Receive the tasks to run: skip the first, select among the others, stop at the limit.

In this order. Tasks that are left out are set aside in the source and counted, and so are entries
that are not tasks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.selection.base import SelectAll, Selection
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery, Malformed

#: Seconds between the submission of a task and the moment when a slot is free for it.
_AHEAD = 0.05
#: Tasks that wait in the executor, at most, in all and per slot: more of them cost time in the
#: cycle collector.
_MAX_AHEAD, _MAX_AHEAD_PER_SLOT = 1024, 48
#: Deliveries that are received at a time, and bad entries that the final error names, at most.
_MAX_BATCH, _NAMED = 4096, 5


class Intake:
    """The choice of tasks from *source*; used in the dispatcher's thread only.

    Args:
        source: the source, opened before ``begin``.
        skip, limit, selection: as in :class:`~cloud_tasks.runtime.options.RunOptions`.

    Attributes:
        ended: no further tasks will come.
        limited: they ended because of *limit*.
        first_bad: the first few bad entries, for the final error.
    """

    def __init__(
        self,
        source: TaskSource,
        stats: Stats,
        *,
        skip: int = 0,
        limit: int | None = None,
        selection: Selection | None = None,
    ) -> None:
        self._source = source
        self._stats = stats
        self._skip = self._to_skip = skip
        self._limit = limit
        self._left = math.inf if limit is None else limit
        self._selection = selection or SelectAll()
        self.ended = self._left == 0
        self.limited = self.ended
        self.first_bad: list[Malformed] = []

    def begin(self, stopped: Callable[[], bool]) -> None:
        """Plan the selection and count the tasks, where that is possible; may block for long.

        *stopped* returns True when the run ends before its first task.
        """
        self._selection.plan(self._source, self._skip, stopped)
        self._stats.total = self.expected()
        if self._stats.total is None and not self._selection.selects:
            self._stats.guessed_total = self._within_limits(self._source.estimate_total())
        self._apply_selection()

    def receive(self, n: int) -> tuple[list[Delivery], list[Malformed]]:
        """Return up to *n* tasks to run, and bad entries.

        Blocks until the source has returned something. All of that may be left out: the tasks are
        then empty, and there may be more.

        Raises:
            SourceError: the source broke.
        """
        ahead = self._to_skip + self._selection.ahead
        batch = self._source.receive(int(min(n + ahead, max(self._left, 1) + ahead, _MAX_BATCH)))
        deliveries = list(batch.deliveries)
        if self._to_skip:
            skipped = min(self._to_skip, len(deliveries))
            self._source.set_aside(deliveries[:skipped])
            self._to_skip -= skipped
            self._stats.skipped += skipped
            deliveries = deliveries[skipped:]
        deliveries = self._select(deliveries)
        self._left -= len(deliveries)
        self._stats.bad_entries += len(batch.malformed)
        self.first_bad += batch.malformed[: max(0, _NAMED - len(self.first_bad))]
        self._apply_selection()
        self.ended = self.ended or batch.ended
        self.limited = self._left <= 0 and not self.ended
        self.ended = self.ended or self.limited
        return deliveries, list(batch.malformed)

    def _select(self, deliveries: list[Delivery]) -> list[Delivery]:
        if not (self._selection.selects and deliveries):
            return deliveries
        flags = self._selection.choose(deliveries)
        left_out = list(itertools.compress(deliveries, (not flag for flag in flags)))
        if left_out:
            self._source.set_aside(left_out)
        return list(itertools.compress(deliveries, flags))

    def _apply_selection(self) -> None:
        """Copy the counts of the selection; end if it needs no more of the source."""
        self._stats.finished_before = self._selection.finished_before
        self._stats.failed_before = self._selection.failed_before
        if self._selection.complete and not self._to_skip:
            self.ended = True

    def finish(self) -> None:
        """Check that all tasks that were asked for were there; called after the last submission.

        Raises:
            SourceError: some were not.
        """
        if not self._source.limits.requeues:
            self._stats.total = self._stats.submitted
        if not self.limited:
            self._selection.finish(self._stats.skipped)

    def expected(self) -> int | None:
        """Return how many tasks there will be to run; None where that is unknown."""
        rest = self._selection.to_run
        if rest is None:
            if self._source.total is None or self._selection.selects:
                return None
            return self._within_limits(self._source.total)
        return rest if self._limit is None else min(rest, self._limit)

    def _within_limits(self, total: int | None) -> int | None:
        if total is None:
            return None
        rest = max(0, total - self._skip)
        return rest if self._limit is None else min(rest, self._limit)

    def error(self) -> TaskFormatError | None:
        """Return an error that names the bad entries; None if there were none."""
        count = self._stats.bad_entries
        if not count:
            return None
        first = "; ".join(str(entry) for entry in self.first_bad)
        more = f"; and {count - len(self.first_bad)} more" if count > len(self.first_bad) else ""
        noun = "entry of the source was no task" if count == 1 else "entries were no tasks"
        return TaskFormatError(f"{count} {noun}: {first}{more}")


def lookahead(slots: int, mean_elapsed_time: float | None, *, keep_one_waiting: bool = True) -> int:
    """Return how many tasks to submit beyond those that run.

    Enough for :data:`_AHEAD` seconds, so that no slot is idle while the dispatcher is busy.

    Args:
        slots: number of tasks that run at once.
        mean_elapsed_time: seconds per task; None before the first outcome.
        keep_one_waiting: let one task wait even where tasks are long; False where another worker
            could run it meanwhile.
    """
    if not mean_elapsed_time:
        return slots if keep_one_waiting else 0
    needed = slots * _AHEAD / mean_elapsed_time
    most = min(_MAX_AHEAD, slots * _MAX_AHEAD_PER_SLOT)
    return min(most, max(1, math.ceil(needed)) if keep_one_waiting else math.floor(needed))
