"""Select the tasks that earlier runs left over (``--resume``).

    the log of earlier runs ──► PreviousResults.find(task) ──► NEW, OTHER_DATA: run
                                                               DONE:            leave out
                                                               FAILED:          as asked for

Where the source can be read twice, such as a file, all of it is compared before the first task
runs: the number of tasks is then known, and one byte a task is all that is kept. Otherwise each
task is compared when it is received.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud_tasks.errors import SourceError
from cloud_tasks.selection.base import Selection
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery, Task

#: Deliveries that are compared in one step, between two checks whether the run was stopped.
_STEP = 4096


class PreviousResult(enum.IntEnum):
    """The result of a task in earlier runs."""

    NEW = 0
    DONE = 1
    FAILED = 2
    #: A task with the same id ended, but it had other data.
    OTHER_DATA = 3


class PreviousResults(Protocol):
    """The results of earlier runs."""

    def read(self, stopped: Callable[[], bool]) -> None:
        """Read them all; blocks, until *stopped*. Raises HistoryError."""

    def find(self, task: Task) -> PreviousResult:
        """Return the previous result of *task*, the next one of the source.

        Each recorded end belongs to one task only: of equal tasks, as many have a result as have
        ended.
        """

    def changed(self) -> tuple[int, tuple[str, ...]]:
        """Return how many tasks have other data than when they ran, and the ids of a few.

        Called once, after the last task: only then is it known which recorded ends belong to no
        task with the same data.
        """


@dataclass(frozen=True, slots=True)
class Findings:
    """The counts of the comparison of all tasks with their previous results.

    Attributes:
        done: tasks that an earlier run had finished.
        failed: tasks that failed in an earlier run.
        others: all other tasks.
        changed: of the others, those that ran with other data.
        names: ids of the first few of the changed ones.
    """

    done: int = 0
    failed: int = 0
    others: int = 0
    changed: int = 0
    names: tuple[str, ...] = ()

    @property
    def no_overlap(self) -> bool:
        """Return True if there are tasks, and none of them has a previous result."""
        return bool(self.others) and not (self.done or self.failed or self.changed)


class SelectUnfinished(Selection):
    """Leave out the tasks that earlier runs had finished.

    Args:
        previous: the results of earlier runs.
        rerun_failed: run failed tasks again; otherwise they are left out, too.
        on_plan: called with the counts before the first task is run; with None where the source
            can be read only once, so that tasks are compared as they come.
        on_end: called with the counts at the end of such a source.
    """

    def __init__(
        self,
        previous: PreviousResults,
        *,
        rerun_failed: bool,
        on_plan: Callable[[Findings | None], None],
        on_end: Callable[[Findings], None],
    ) -> None:
        self._previous: PreviousResults | None = previous
        # By PreviousResult: 1 if such tasks are run, and the number of them.
        self._runs = [1] * len(PreviousResult)
        self._runs[PreviousResult.DONE] = 0
        self._runs[PreviousResult.FAILED] = int(rerun_failed)
        self._counts = [0] * len(PreviousResult)
        self._on_plan = on_plan
        self._on_end = on_end
        #: One byte a delivery, 1 to run it; None where tasks are compared as they come.
        self._plan: bytearray | None = None
        self._next = 0
        #: Number of deliveries after which the rest is not needed; None: all are.
        self._needed: int | None = None

    def prepare(self, stopped: Callable[[], bool]) -> None:
        """Read the previous results."""
        if self._previous is not None:
            self._previous.read(stopped)

    def plan(self, source: TaskSource, skip: int, stopped: Callable[[], bool]) -> None:
        """Compare the whole source with the previous results, and drop these."""
        twin = source.clone()
        if twin is None or self._previous is None:
            self._on_plan(None)
            return
        plan = bytearray()
        # A fault of the source is reported when it is read again, to run its tasks.
        with contextlib.closing(twin), contextlib.suppress(SourceError):
            self._needed = self._compare(twin, skip, plan, stopped)
        if stopped():
            return
        found = self._findings(self._previous)
        self._plan, self._previous = plan, None
        self.to_run = plan.count(1)
        self.finished_before = found.done
        self.failed_before = 0 if self._runs[PreviousResult.FAILED] else found.failed
        self._update_complete()
        self._on_plan(found)

    def _compare(
        self, twin: TaskSource, skip: int, plan: bytearray, stopped: Callable[[], bool]
    ) -> int | None:
        """Fill *plan*; return how many deliveries of it are needed, None for all."""
        twin.open()
        needed = 0
        for batch in twin.batches(_STEP):
            plan += self._decide(batch.deliveries[skip:])
            skip = max(0, skip - len(batch.deliveries))
            if batch.malformed:
                # Bad entries are reported when they are read, together with the next task.
                needed = len(plan) + 1
            if batch.ended:
                return max(needed, plan.rfind(1) + 1)
            if stopped():
                break
        return None

    def _decide(self, deliveries: Sequence[Delivery]) -> bytes:
        assert self._previous is not None
        find, counts, runs = self._previous.find, self._counts, self._runs
        decided = bytearray()
        for delivery in deliveries:
            result = find(delivery.task)
            counts[result] += 1
            decided.append(runs[result])
        return bytes(decided)

    def _findings(self, previous: PreviousResults) -> Findings:
        counts = self._counts
        changed, names = previous.changed()
        others = counts[PreviousResult.NEW] + counts[PreviousResult.OTHER_DATA]
        return Findings(
            counts[PreviousResult.DONE], counts[PreviousResult.FAILED], others, changed, names
        )

    @property
    def ahead(self) -> int:
        """Return how many of the next deliveries, at least, are left out."""
        if self._plan is None:
            return 0
        after = self._plan.find(1, self._next)
        return (len(self._plan) if after < 0 else after) - self._next

    def choose(self, deliveries: Sequence[Delivery]) -> Sequence[int]:
        """Return the decisions of the plan, or compare now where there is none."""
        if self._plan is None:
            decided = self._decide(deliveries)
            self.finished_before = self._counts[PreviousResult.DONE]
            if not self._runs[PreviousResult.FAILED]:
                self.failed_before = self._counts[PreviousResult.FAILED]
            return decided
        planned = self._plan[self._next : self._next + len(deliveries)]
        self._next += len(planned)
        self._update_complete()
        # Tasks beyond the plan: the file has grown meanwhile.
        return planned + b"\1" * (len(deliveries) - len(planned))

    def _update_complete(self) -> None:
        self.complete = self._needed is not None and self._next >= self._needed

    def finish(self, skipped: int) -> None:
        """Report the counts where there was no plan."""
        if self._previous is not None:
            self._on_end(self._findings(self._previous))
