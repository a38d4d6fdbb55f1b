"""Which tasks come in: skipping the first, stopping after so many, setting bad entries aside."""

from __future__ import annotations

import math

from cloud_tasks.errors import TaskFormatError
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery, Malformed

#: Tasks are handed over this many seconds before a slot will be free for them.
_AHEAD = 0.05
#: And never more than this many.
_MOST_AHEAD = 256


class Intake:
    """Takes deliveries from *source*.

    Args:
        source: opened.
        stats: counts what is left out.
        skip: leave out the first so many tasks.
        most: start no more than so many; None: no limit.

    Attributes:
        ended: nothing more will come.
        limited: it ended because of *most*.
        first_bad: the first few bad entries, for the final error.
    """

    def __init__(
        self, source: TaskSource, stats: Stats, *, skip: int = 0, most: int | None = None
    ) -> None:
        self._source = source
        self._stats = stats
        self._skip = self._to_skip = skip
        self._most = most
        self._left = math.inf if most is None else most
        self.ended = self._left == 0
        self.limited = self.ended
        self.first_bad: list[Malformed] = []

    def take(self, n: int) -> tuple[list[Delivery], list[Malformed]]:
        """Return up to *n* tasks to run, and bad entries; blocks until there is something.

        Raises:
            SourceError: the source broke.
        """
        batch = self._source.receive(
            int(min(n + self._to_skip, max(self._left, 1) + self._to_skip, 4096))
        )
        deliveries = list(batch.deliveries)
        if self._to_skip:
            left_out = min(self._to_skip, len(deliveries))
            self._source.set_aside(deliveries[:left_out])
            self._to_skip -= left_out
            self._stats.skipped += left_out
            deliveries = deliveries[left_out:]
        self._left -= len(deliveries)
        self._stats.bad_entries += len(batch.malformed)
        self.first_bad += batch.malformed[: max(0, 5 - len(self.first_bad))]
        self.limited = self._left <= 0 and not batch.ended
        self.ended = batch.ended or self.limited
        return deliveries, list(batch.malformed)

    def expected(self) -> int | None:
        """Return how many tasks there will be to run, where the source knows."""
        if self._source.total is None:
            return None
        rest = max(0, self._source.total - self._skip)
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
    return min(_MOST_AHEAD, max(1, math.ceil(wanted)) if hoard else math.floor(wanted))
