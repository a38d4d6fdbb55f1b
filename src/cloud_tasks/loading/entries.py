"""The entries of a load: their messages, and what became of them."""

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
from cloud_tasks.task import Task

_PROBLEMS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One task on its way.

    Attributes:
        position: in its source, from 0; entries that are no tasks count.
        task_id: its id.
        body: its message.
    """

    position: int
    task_id: str
    body: bytes

    def outgoing(self, load_id: str) -> Outgoing:
        """Return the message, with a key that is the same when *load_id* sends it again."""
        content = hashlib.blake2b(self.body, digest_size=16).hexdigest()
        return Outgoing(self.body, f"{load_id}-{self.position}-{content}")


@dataclass(slots=True)
class Tally:
    """What became of the entries; counted by several threads.

    Attributes:
        loaded: the provider has accepted them, now.
        before: an earlier run had loaded them.
        refused: they are no tasks, too large, or the provider refused them.
        size: of what was loaded, in bytes.
        problems: the first of those that were refused, in words.
        created: the queues that were made.
    """

    loaded: int = 0
    before: int = 0
    refused: int = 0
    size: int = 0
    problems: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def accept(self, entries: Sequence[Entry]) -> None:
        """Count *entries* as loaded."""
        with self._lock:
            self.loaded += len(entries)
            self.size += sum(len(entry.body) for entry in entries)

    def refuse(self, problem: str) -> bool:
        """Count an entry as refused; returns whether it is among the first, to be told."""
        with self._lock:
            self.refused += 1
            if len(self.problems) >= _PROBLEMS_KEPT:
                return False
            self.problems.append(problem)
            return True


def message_of(task: Task) -> bytes:
    """Return the message of *task*: JSON in ASCII, without a space.

    Raises:
        ValueError: its data hold what JSON can't; the text is the end of a sentence.
    """
    try:
        return json.dumps(
            {"task_id": task.task_id, "data": task.data},
            separators=(",", ":"),
            allow_nan=False,
            default=_plain,
        ).encode("ascii")
    except TypeError as error:
        raise ValueError(f"'data' can't be written as JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("'data' is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"'data' can't be written as JSON: {error}") from error


def _plain(value: object) -> Any:
    if isinstance(value, (date, time_of_day)):  # YAML has them
        return value.isoformat()
    raise TypeError(f"it holds a value of type {type(value).__name__}")


def named(position: int, task_id: str, problem: str) -> str:
    """Return *problem* as a sentence about the entry at *position*."""
    shown = task_id if len(task_id) <= 200 else task_id[:200] + "..."
    return f"entry {position + 1}, task_id {shown!r}: {problem}"
