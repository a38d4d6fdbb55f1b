"""The server's side of the queues in memory: what they hold, and what a test does to them."""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cloud_tasks.clock import Clock
from cloud_tasks.errors import QueueError, QueueMissingError, QueueUnavailableError
from cloud_tasks.queues.base import Failure, QueueLimits, QueueSpec

#: Small enough for a test to go beyond them.
LIMITS = QueueLimits(
    receive=10,
    settle=10,
    send=10,
    message_bytes=2**20,
    request_bytes=2**20,
    min_lease=0,
    max_lease=43200,
)


@dataclass(slots=True)
class Copy:
    """One message in a queue; ``handle`` is that of the latest delivery, 0 if there was none."""

    message_id: str
    body: bytes
    key: str
    attempt: int = 0
    hidden_until: float = -math.inf
    handle: int = 0


@dataclass(slots=True)
class Fault:
    """What is to happen to the next *left* calls (or messages) of an operation."""

    left: float
    error: QueueError | None = None
    failure: Failure | None = None

    def take(self) -> bool:
        taken = self.left > 0
        self.left -= taken
        return taken

    def strike(self) -> None:
        if self.error is not None and self.take():
            raise type(self.error)(*self.error.args)


class Stored:
    """One queue as the server has it; a test looks into it and breaks it. *spec* made it."""

    def __init__(self, server: FakeServer, spec: QueueSpec) -> None:
        self.spec = spec
        self.copies: deque[Copy] = deque()
        self.keys: set[str] = set()
        self.refusals: dict[str, Fault] = {}
        self.dropped: dict[str, Fault] = {}
        self.failures: dict[str, Fault] = {}
        self._server = server

    def refuse(self, operation: str, n: float, error: QueueError) -> None:
        """Have the next *n* requests of *operation* raise *error*; nothing of them is done."""
        self.refusals[operation] = Fault(n, error=error)

    def drop_answers(self, operation: str, n: float) -> None:
        """Have the next *n* requests of *operation* be done and look as if they were not."""
        error = QueueUnavailableError("the answer was lost on its way")
        self.dropped[operation] = Fault(n, error=error)

    def fail_messages(self, operation: str, n: float, reason: str, *, lost: bool = False) -> None:
        """Have the next *n* messages of *operation* fail while their neighbours are dealt with."""
        self.failures[operation] = Fault(n, failure=Failure(0, reason, lost))

    def duplicate(self, n: int) -> None:
        """Make a visible second copy of the first *n* messages, whoever holds them."""
        with self._server.changed:
            again = [Copy(c.message_id, c.body, c.key) for c in list(self.copies)[:n]]
            self.copies += again
            self._server.changed.notify_all()

    def lose_leases(self) -> None:
        """Take all deliveries away from their holders: they are visible, and can't be settled."""
        with self._server.changed:
            for held in self.copies:
                held.hidden_until, held.handle = -math.inf, 0
            self._server.changed.notify_all()

    def split(self) -> tuple[int, int]:
        """Count the visible messages and the hidden ones."""
        now = self._server.clock.monotonic()
        with self._server.changed:
            visible = sum(1 for held in self.copies if held.hidden_until <= now)
            return visible, len(self.copies) - visible


@dataclass(slots=True)
class FakeServer:
    """What several providers share: named queues, limits, and a clock by which leases end.

    Attributes:
        clock: a waiting ``receive`` waits by the machine's clock all the same.
        limits: of all queues made from now on.
        counts_attempts: deliveries tell which they are.
        trouble: asked before each request, by queue and operation; an error that it returns is
            raised.
    """

    clock: Clock = field(default_factory=Clock)
    limits: QueueLimits = LIMITS
    counts_attempts: bool = True
    trouble: Callable[[str, str], QueueError | None] | None = None
    queues: dict[str, Stored] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def stored(self, name: str) -> Stored:
        """Return the queue of that *name*.

        Raises:
            QueueMissingError: there is none.
        """
        try:
            return self.queues[name]
        except KeyError:
            raise QueueMissingError(f"there is no fake queue {name!r}: create it first") from None
