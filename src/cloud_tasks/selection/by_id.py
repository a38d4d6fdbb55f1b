"""Running just the tasks of some ids."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence

from cloud_tasks.errors import SourceError
from cloud_tasks.selection.base import Selection
from cloud_tasks.task import Delivery

#: Ids that were not found and are named, with one that is like each of them.
_NAMED = 5
#: Ids that are kept to be compared, at most: those that have a half in common with one that is
#: looked for, and those that differ from it at an end only.
_ALIKE, _MUCH_ALIKE = 5_000, 10_000
#: Longer ids are not compared; comparing takes time by the square of the length.
_LONGEST = 200


class SelectByTaskId(Selection):
    """Takes the tasks of *task_ids* and no others, each as often as it is there.

    Args:
        task_ids: at least one.
        until_found: nothing else is wanted once each of them was found; else the source is read
            to its end, where there may be more tasks of these ids.
    """

    def __init__(self, task_ids: Collection[str], *, until_found: bool) -> None:
        self._ids = frozenset(task_ids)
        self._missing = dict.fromkeys(task_ids)
        self._until_found = until_found
        self._like = _Likenesses(list(self._missing)[:_NAMED])

    def choose(self, deliveries: Sequence[Delivery]) -> Sequence[int]:
        """Take those of the ids."""
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
                self._like.look_at(task_id)
        self.complete = self._until_found and not self._missing
        return chosen

    def finish(self, skipped: int) -> None:
        """Complain of ids that were not found.

        Raises:
            SourceError: there are such.
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
        like = self._like.nearest(task_id)
        shown = repr(task_id) if len(task_id) <= _LONGEST else f"{task_id[:_LONGEST]!r}..."
        return shown if like is None else f"{shown} (did you mean {like!r}?)"


class _Likenesses:
    """Keeps of the ids that it is shown a bounded number that look like one of *wanted*."""

    def __init__(self, wanted: Sequence[str]) -> None:
        wanted = [task_id for task_id in wanted if len(task_id) <= _LONGEST]
        self._folded = {task_id.casefold() for task_id in wanted}
        # One letter too many, too few or wrong leaves one half of an id as it was.
        self._heads = tuple(task_id[: (len(task_id) + 1) // 2] for task_id in wanted)
        self._tails = tuple(task_id[len(task_id) // 2 :] for task_id in wanted)
        self._long_heads = tuple(task_id[:-2] for task_id in wanted if len(task_id) > 4)
        self._long_tails = tuple(task_id[2:] for task_id in wanted if len(task_id) > 4)
        self._kept: dict[str, None] = {}

    def look_at(self, task_id: str) -> None:
        """Keep *task_id* if it may be meant."""
        if len(self._kept) >= _MUCH_ALIKE or len(task_id) > _LONGEST:
            return
        if len(self._kept) < _ALIKE:
            alike = task_id.startswith(self._heads) or task_id.endswith(self._tails)
        else:
            alike = task_id.startswith(self._long_heads) or task_id.endswith(self._long_tails)
        if alike or task_id.casefold() in self._folded:
            self._kept[task_id] = None

    def nearest(self, task_id: str) -> str | None:
        """Return what is most like *task_id* of what was kept; None: nothing is."""
        if len(task_id) > _LONGEST:
            return None
        folded = task_id.casefold()
        for kept in self._kept:
            if kept.casefold() == folded:
                return kept
        return next(iter(difflib.get_close_matches(task_id, self._kept, n=1, cutoff=0.6)), None)
