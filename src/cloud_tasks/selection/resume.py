"""Which tasks of the source are run: all of them, or those that earlier runs left over."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cloud_tasks.errors import SourceError
from cloud_tasks.selection.base import _AT_ONCE, Selection
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery, Task


class PreviousResult(enum.IntEnum):
    """What is known of a task from earlier runs."""

    NEW = 0
    DONE = 1
    FAILED = 2
    #: It had the same id then, and other data.
    OTHER_DATA = 3


class Record(Protocol):
    """What earlier runs did."""

    def read(self, stopped: Callable[[], bool]) -> None:
        """Read it all; blocks, until *stopped*. Raises HistoryError."""

    def find(self, task: Task) -> PreviousResult:
        """Say what is known of *task*, the next one of the source.

        Each end that was recorded is that of one task only: of equal tasks, as many are found as
        have ended.
        """

    def changed(self) -> tuple[int, tuple[str, ...]]:
        """Return how many tasks have other data than when they ran, and the ids of a few.

        Asked once, after the last task: an end that belongs to a later task of the same id is no
        sign that the data of an earlier one have changed.
        """


@dataclass(frozen=True, slots=True)
class Findings:
    """What came of comparing the tasks with the record.

    Attributes:
        done: tasks that an earlier run had finished.
        failed: tasks that failed there.
        others: all others.
        changed: of the others, those whose data are not what they were when they ran.
        names: ids of the first few of those.
    """

    done: int = 0
    failed: int = 0
    others: int = 0
    changed: int = 0
    names: tuple[str, ...] = ()

    @property
    def strangers(self) -> bool:
        """There are tasks, and none of them is in the record."""
        return bool(self.others) and not (self.done or self.failed or self.changed)


class Unfinished(Selection):
    """Leaves out what *record* tells as finished.

    Args:
        record: of earlier runs.
        failed_again: run those again that failed; otherwise they are left out, too.
        on_plan: called with what was found, before the first task is run; with None where the
            source can be read only once, so that it is found task by task.
        on_end: called with what was found at the end of such a source.
    """

    def __init__(
        self,
        record: Record,
        *,
        failed_again: bool,
        on_plan: Callable[[Findings | None], None],
        on_end: Callable[[Findings], None],
    ) -> None:
        self._record: Record | None = record
        #: By verdict: whether such a task is run, and how many there were.
        self._runs = [1] * len(PreviousResult)
        self._runs[PreviousResult.DONE] = 0
        self._runs[PreviousResult.FAILED] = int(failed_again)
        self._counts = [0] * len(PreviousResult)
        self._on_plan = on_plan
        self._on_end = on_end
        #: One byte a delivery; None: there is no plan.
        self._plan: bytearray | None = None
        self._at = 0
        #: So many deliveries must be read until nothing else is wanted; None: all.
        self._needed: int | None = None

    def prepare(self, stopped: Callable[[], bool]) -> None:
        """Read the record."""
        if self._record is not None:
            self._record.read(stopped)

    def plan(self, source: TaskSource, skip: int, stopped: Callable[[], bool]) -> None:
        """Compare the whole source with the record, and let go of the record."""
        twin = source.clone()
        if twin is None or self._record is None:
            self._on_plan(None)
            return
        plan = bytearray()
        # Of what is wrong with it, its user hears when it is read to be run.
        with contextlib.closing(twin), contextlib.suppress(SourceError):
            self._needed = self._compare(twin, skip, plan, stopped)
        if stopped():
            return
        found = self._findings(self._record)
        self._plan, self._record = plan, None
        self.to_run = plan.count(1)
        self.finished_before = found.done
        self.failed_before = 0 if self._runs[PreviousResult.FAILED] else found.failed
        self._note_completeness()
        self._on_plan(found)

    def _compare(
        self, twin: TaskSource, skip: int, plan: bytearray, stopped: Callable[[], bool]
    ) -> int | None:
        """Fill *plan*; return how much of it is needed."""
        twin.open()
        needed = 0
        for batch in twin.batches(_AT_ONCE):
            plan += self._decide(batch.deliveries[skip:])
            skip = max(0, skip - len(batch.deliveries))
            if batch.malformed:
                # They are told of when they are read, which they were when the next task is.
                needed = len(plan) + 1
            if batch.ended:
                return max(needed, plan.rfind(1) + 1)
            if stopped():
                break
        return None

    def _decide(self, deliveries: Sequence[Delivery]) -> bytes:
        assert self._record is not None
        find, counts, runs = self._record.find, self._counts, self._runs
        decided = bytearray()
        for delivery in deliveries:
            verdict = find(delivery.task)
            counts[verdict] += 1
            decided.append(runs[verdict])
        return bytes(decided)

    def _findings(self, record: Record) -> Findings:
        counts = self._counts
        changed, names = record.changed()
        others = counts[PreviousResult.NEW] + counts[PreviousResult.OTHER_DATA]
        return Findings(
            counts[PreviousResult.DONE], counts[PreviousResult.FAILED], others, changed, names
        )

    @property
    def ahead(self) -> int:
        """So many of the next deliveries, at least, are left out."""
        if self._plan is None:
            return 0
        after = self._plan.find(1, self._at)
        return (len(self._plan) if after < 0 else after) - self._at

    def choose(self, deliveries: Sequence[Delivery]) -> Sequence[int]:
        """Decide by the plan, or else by the record."""
        if self._plan is None:
            decided = self._decide(deliveries)
            self.finished_before = self._counts[PreviousResult.DONE]
            if not self._runs[PreviousResult.FAILED]:
                self.failed_before = self._counts[PreviousResult.FAILED]
            return decided
        planned = self._plan[self._at : self._at + len(deliveries)]
        self._at += len(planned)
        self._note_completeness()
        # A file may have grown meanwhile.
        return planned + b"\1" * (len(deliveries) - len(planned))

    def _note_completeness(self) -> None:
        self.complete = self._needed is not None and self._at >= self._needed

    def finish(self, skipped: int) -> None:
        """Tell what was found, where nobody knew before."""
        if self._record is not None:
            self._on_end(self._findings(self._record))
