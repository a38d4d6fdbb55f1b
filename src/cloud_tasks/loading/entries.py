"""Turn tasks into messages of a queue, and count how many were loaded."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from datetime import time as time_of_day
from typing import Any

from cloud_tasks.queues.base import Outgoing
from cloud_tasks.sources.entries import shown
from cloud_tasks.task import Task

#: Problems whose sentences a LoadResult keeps; of further ones it keeps the count.
_PROBLEMS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One task with its message.

    The position in its source counts from 0; entries that are no tasks count.
    """

    position: int
    task_id: str
    body: bytes

    def outgoing(self, load_id: str) -> Outgoing:
        """Return the message, with a key that is the same when *load_id* sends it again."""
        content = hashlib.blake2b(self.body, digest_size=16).hexdigest()
        return Outgoing(self.body, f"{load_id}-{self.position}-{content}")


@dataclass(slots=True)
class LoadResult:
    """The counts of a load. Any thread may add to them.

    Attributes:
        sent: entries that the provider accepted in this run.
        sent_before: entries that an earlier run had loaded.
        refused: entries that are no tasks, too large, or that the provider refused.
        size: bytes of the messages that were sent in this run.
        problems: the first refusals, a sentence each.
        created: names of the queues that were created.
    """

    sent: int = 0
    sent_before: int = 0
    refused: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def accept(self, entries: Sequence[Entry]) -> None:
        """Count *entries* as sent."""
        with self._lock:
            self.sent += len(entries)
            self.size += sum(len(entry.body) for entry in entries)

    def refuse(self, problem: str) -> bool:
        """Count an entry as refused; return True if *problem* is among the first, to be printed."""
        with self._lock:
            self.refused += 1
            if len(self.problems) >= _PROBLEMS_KEPT:
                return False
            self.problems.append(problem)
            return True


def message_of(task: Task) -> bytes:
    """Return the message of *task*: JSON in ASCII, without a space.

    Raises:
        ValueError: JSON can't hold its data; the text is the end of a sentence.
    """
    try:
        return json.dumps(
            {"task_id": task.task_id, "data": task.data},
            separators=(",", ":"),
            allow_nan=False,
            default=_plain,
        ).encode("ascii")
    except RecursionError as error:
        raise ValueError("'data' is nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"'data' can't be written as JSON: {error}") from error


def _plain(value: object) -> Any:
    if isinstance(value, (date, time_of_day)):  # YAML has them
        return value.isoformat()
    raise TypeError(f"it holds a value of type {type(value).__name__}")


def entry_problem(position: int, task_id: str, problem: str) -> str:
    """Return *problem* as a sentence about the entry at *position*, counted from 1."""
    return f"entry {position + 1}, task_id {shown(task_id, 200)}: {problem}"
