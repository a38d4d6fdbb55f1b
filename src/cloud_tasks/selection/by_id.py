"""Select tasks by id (``--task-id``), and suggest similar ids for those that are not found."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from cloud_tasks.errors import SourceError
from cloud_tasks.selection.base import Selection
from cloud_tasks.task import Delivery

#: Number of missing ids that the message names, each with the most similar id of the source.
_NAMED = 5
#: Limits of the ids that are kept for comparison: up to the first, ids that share a half with a
#: missing one; from there to the second, only those that differ from it in two letters at an end.
_HALF_EQUAL, _NEARLY_EQUAL = 5_000, 10_000
#: Longer ids are not compared: the time for it grows with the square of the length.
_LONGEST = 200


class SelectByTaskId(Selection):
    """Select all tasks with one of *task_ids*.

    Args:
        task_ids: at least one.
        until_found: be complete once each id was found; otherwise the source is read to its end,
            for further tasks with these ids.
    """

    def __init__(self, task_ids: Collection[str], *, until_found: bool) -> None:
        self._ids = frozenset(task_ids)
        self._missing = dict.fromkeys(task_ids)
        self._until_found = until_found
        self._similar = _SimilarIds(list(self._missing)[:_NAMED])

    def choose(self, deliveries: Sequence[Delivery]) -> Sequence[int]:
        """Return 1 for deliveries with one of the ids."""
        if self.complete:
            return bytes(len(deliveries))
        chosen = bytearray()
        for delivery in deliveries:
            task_id = delivery.task.task_id
            if task_id in self._ids:
                self._missing.pop(task_id, None)
                chosen.append(1)
            else:
                chosen.append(0)
                self._similar.add(task_id)
        self.complete = self._until_found and not self._missing
        return chosen

    def finish(self, skipped: int) -> None:
        """Check that each id was found.

        Raises:
            SourceError: some were not; the message suggests similar ones.
        """
        if not self._missing:
            return
        named = [self._named(task_id) for task_id in list(self._missing)[:_NAMED]]
        if len(self._missing) > _NAMED:
            named.append(f"and {len(self._missing) - _NAMED} more")
        where = f" after the first {skipped:,}, which --tasks-to-skip left out" if skipped else ""
        noun = "id" if len(self._missing) == 1 else "ids"
        raise SourceError(f"there is no task of the {noun} {', '.join(named)}{where} (--task-id)")

    def _named(self, task_id: str) -> str:
        similar = self._similar.nearest(task_id)
        shown = repr(task_id) if len(task_id) <= _LONGEST else f"{task_id[:_LONGEST]!r}..."
        return shown if similar is None else f"{shown} (did you mean {similar!r}?)"


class _SimilarIds:
    """A bounded number of ids that resemble one of *missing*."""

    def __init__(self, missing: Sequence[str]) -> None:
        missing = [task_id for task_id in missing if len(task_id) <= _LONGEST]
        self._folded = {task_id.casefold() for task_id in missing}
        # One letter too many, missing or wrong leaves one half of an id unchanged.
        self._heads = tuple(task_id[: (len(task_id) + 1) // 2] for task_id in missing)
        self._tails = tuple(task_id[len(task_id) // 2 :] for task_id in missing)
        self._long_heads = tuple(task_id[:-2] for task_id in missing if len(task_id) > 4)
        self._long_tails = tuple(task_id[2:] for task_id in missing if len(task_id) > 4)
        self._kept: dict[str, None] = {}

    def add(self, task_id: str) -> None:
        """Keep *task_id* if it resembles one of the missing ids."""
        if len(self._kept) >= _NEARLY_EQUAL or len(task_id) > _LONGEST:
            return
        if len(self._kept) < _HALF_EQUAL:
            alike = task_id.startswith(self._heads) or task_id.endswith(self._tails)
        else:
            alike = task_id.startswith(self._long_heads) or task_id.endswith(self._long_tails)
        if alike or task_id.casefold() in self._folded:
            self._kept[task_id] = None

    def nearest(self, task_id: str) -> str | None:
        """Return the kept id that is most similar to *task_id*; None if none is."""
        if len(task_id) > _LONGEST:
            return None
        folded = task_id.casefold()
        for kept in self._kept:
            if kept.casefold() == folded:
                return kept
        return next(iter(difflib.get_close_matches(task_id, self._kept, n=1, cutoff=0.6)), None)
