"""Test that a task source keeps the contract of ``TaskSource``.

Subclass :class:`SourceContract` in a test module and override ``source`` and ``slow_source``;
pytest collects the inherited tests. A source that takes tasks back declares so in its limits;
tests that don't apply to it, or only to it, are skipped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cloud_tasks.errors import SourceError
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery, Malformed, Task

_SOON = 20.0


@dataclass(slots=True)
class Drained:
    """The entries that were received from a source, and its error.

    Attributes:
        tasks: the tasks, in order.
        malformed: the entries that are no tasks, in order.
        error: what ended the source before its end, or None.
        batches: number of entries of each ``receive``.
    """

    tasks: list[Task] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    error: SourceError | None = None
    batches: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """The ids of the tasks, in order."""
        return [task.task_id for task in self.tasks]


def drain(source: TaskSource, *, n: int = 7) -> Drained:
    """Open *source*, receive *n* at a time up to its end or its error, and close it."""
    drained = Drained()
    try:
        source.open()
        for batch in source.batches(n):
            source.ack(batch.deliveries)
            source.dead_letter(batch.malformed)
            drained.tasks += [delivery.task for delivery in batch.deliveries]
            drained.malformed += batch.malformed
            drained.batches.append(len(batch.deliveries) + len(batch.malformed))
    except SourceError as error:
        drained.error = error
    finally:
        source.close()
    return drained


def tasks(count: int) -> list[Task]:
    """Return *count* tasks that every format can hold."""
    return [Task(f"t{i}", {"number": f"{i}", "text": 'grün, "x"'}) for i in range(count)]


def receive(source: TaskSource, n: int) -> list[Delivery]:
    """Receive *n* tasks, and check that the source has as many."""
    deliveries: list[Delivery] = []
    while len(deliveries) < n:
        batch = source.receive(n - len(deliveries))
        assert not batch.ended
        deliveries += batch.deliveries
    return deliveries


class SourceContract:
    """The suite."""

    #: A source without tasks is no error.
    may_be_empty = True
    #: Tasks are received in their order.
    keeps_order = True
    #: The beginning of the position of the thirteenth entry.
    thirteenth = "entry 13"

    def same(self, found: Sequence[Task], expected: Sequence[Task]) -> bool:
        """Return whether tasks are equal, in the same order if the source keeps it."""
        if self.keeps_order:
            return list(found) == list(expected)
        return sorted(map(repr, found)) == sorted(map(repr, expected))

    def source(self, tasks: Sequence[Task], directory: Path, bad_before: int = -1) -> TaskSource:
        """Return a source of *tasks*, with a malformed entry before that of an index."""
        raise NotImplementedError

    def slow_source(
        self, first: Task, directory: Path
    ) -> tuple[TaskSource, Callable[[], None], Callable[[], None]]:
        """Return a source that gives *first* and then waits.

        Returns:
            The source, a function that starts its feeder, and one that lets the source end.
        """
        raise NotImplementedError

    def test_gives_every_task_once_and_in_order(self, tmp_path: Path) -> None:
        drained = drain(self.source(tasks(25), tmp_path))
        assert self.same(drained.tasks, tasks(25))
        assert not drained.malformed
        assert drained.error is None

    def test_gives_the_same_whatever_is_asked_for_at_a_time(self, tmp_path: Path) -> None:
        for n in (1, 2, 1000):
            drained = drain(self.source(tasks(25), tmp_path), n=n)
            assert self.same(drained.tasks, tasks(25))

    def test_never_gives_more_than_was_asked_for(self, tmp_path: Path) -> None:
        drained = drain(self.source(tasks(25), tmp_path, bad_before=3), n=4)
        assert max(drained.batches) <= 4

    def test_a_malformed_entry_hurts_no_neighbour(self, tmp_path: Path) -> None:
        for bad_before in (0, 12, 24):
            drained = drain(self.source(tasks(25), tmp_path, bad_before=bad_before))
            assert self.same(drained.tasks, tasks(25))
            assert len(drained.malformed) == 1
            assert drained.error is None

    def test_a_malformed_entry_is_named_by_its_position(self, tmp_path: Path) -> None:
        drained = drain(self.source(tasks(25), tmp_path, bad_before=12))
        (malformed,) = drained.malformed
        assert malformed.position.startswith(self.thirteenth)
        assert malformed.problem

    def test_repeated_ids_are_tasks_of_their_own(self, tmp_path: Path) -> None:
        twice = [*tasks(3), *tasks(3)]
        assert self.same(drain(self.source(twice, tmp_path)).tasks, twice)

    def test_a_source_without_tasks_ends_at_once(self, tmp_path: Path) -> None:
        drained = drain(self.source([], tmp_path))
        assert not drained.tasks
        assert (drained.error is None) is self.may_be_empty

    def test_ack_and_release_bring_nothing_back(self, tmp_path: Path) -> None:
        source = self.source(tasks(4), tmp_path)
        if source.limits.requeues:
            pytest.skip("it takes tasks back")
        source.open()
        given = source.receive(1).deliveries
        source.release(given)
        source.ack(given)
        rest = [delivery.task for batch in source.batches(10) for delivery in batch.deliveries]
        source.close()
        assert rest == tasks(4)[1:]

    def requeuing(self, count: int, directory: Path) -> TaskSource:
        """Return an open source of *count* tasks; skip the test if it takes no task back."""
        source = self.source(tasks(count), directory)
        if not source.limits.requeues:
            pytest.skip("it takes no task back")
        source.open()
        return source

    def test_what_is_released_comes_again(self, tmp_path: Path) -> None:
        source = self.requeuing(1, tmp_path)
        (first,) = receive(source, 1)
        source.release([first])
        (second,) = receive(source, 1)
        assert second.task == first.task
        assert (first.attempt, second.attempt) in {(1, 2), (None, None)}
        source.ack([second])
        assert source.receive(1).ended
        source.close()

    def test_what_is_dead_lettered_does_not_come_again(self, tmp_path: Path) -> None:
        source = self.requeuing(2, tmp_path)
        first, second = receive(source, 2)
        source.dead_letter([first])
        source.ack([second])
        assert source.receive(1).ended
        source.close()

    def test_what_is_set_aside_keeps_nobody_from_the_end(self, tmp_path: Path) -> None:
        source = self.requeuing(1, tmp_path)
        source.set_aside(receive(source, 1))
        assert source.receive(1).ended
        source.close()

    def test_after_a_drain_there_is_nothing_more(self, tmp_path: Path) -> None:
        source = self.requeuing(3, tmp_path)
        held = receive(source, 1)
        source.drain()
        assert source.receive(1).ended
        assert not source.has_lost(held[0])
        source.ack(held)
        source.close()

    def test_closing_twice_is_harmless(self, tmp_path: Path) -> None:
        source = self.source(tasks(4), tmp_path)
        source.open()
        source.close()
        source.close()

    def test_closing_what_was_never_opened_is_harmless(self, tmp_path: Path) -> None:
        self.source(tasks(4), tmp_path).close()

    def test_after_close_there_is_nothing_more(self, tmp_path: Path) -> None:
        source = self.source(tasks(4), tmp_path)
        source.open()
        source.receive(1)
        source.close()
        batch = source.receive(1)
        assert batch.ended
        assert not batch.deliveries

    def test_a_task_is_given_before_the_next_one_is_there(self, tmp_path: Path) -> None:
        (first,) = tasks(1)
        source, start, finish = self.slow_source(first, tmp_path)
        start()
        source.open()
        batch = source.receive(10)  # blocks for ever in a source that waits for a second task
        finish()
        assert [delivery.task for delivery in batch.deliveries] == [first]
        source.ack(batch.deliveries)
        while not source.receive(10).ended:
            pass
        source.close()

    def test_closing_does_not_wait_for_a_receive_that_waits(self, tmp_path: Path) -> None:
        (first,) = tasks(1)
        source, start, finish = self.slow_source(first, tmp_path)
        start()
        source.open()
        source.receive(10)
        waiting = threading.Thread(target=source.receive, args=(10,))
        waiting.start()
        source.close()
        finish()
        waiting.join(_SOON)
        assert not waiting.is_alive()
