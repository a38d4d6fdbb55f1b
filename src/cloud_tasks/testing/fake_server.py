"""Store the messages of fake queues, and inject the faults that a test asks for."""

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

#: Small enough for a test to exceed them.
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
    """A message in a queue; ``handle`` is that of the latest delivery, 0 if there was none."""

    message_id: str
    body: bytes
    key: str
    attempt: int = 0
    hidden_until: float = -math.inf
    handle: int = 0


@dataclass(slots=True)
class Fault:
    """An error for the next *left* requests, or a failure for the next *left* messages."""

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
    """A queue on the server, created with *spec*; a test inspects it and injects faults."""

    def __init__(self, server: FakeServer, spec: QueueSpec) -> None:
        self.spec = spec
        self.creation = f"fake-{next(server.numbers)}"
        self.copies: deque[Copy] = deque()
        self.keys: set[str] = set()
        self.refusals: dict[str, Fault] = {}
        self.dropped: dict[str, Fault] = {}
        self.failures: dict[str, Fault] = {}
        self._server = server

    def refuse(self, operation: str, n: float, error: QueueError) -> None:
        """Make the next *n* requests of *operation* raise *error* without being carried out."""
        self.refusals[operation] = Fault(n, error=error)

    def drop_answers(self, operation: str, n: float) -> None:
        """Lose the answers of the next *n* requests of *operation*, which are carried out."""
        error = QueueUnavailableError("the answer was lost on its way")
        self.dropped[operation] = Fault(n, error=error)

    def fail_messages(self, operation: str, n: float, reason: str, *, lost: bool = False) -> None:
        """Make the next *n* messages of *operation* fail; others in the same request succeed."""
        self.failures[operation] = Fault(n, failure=Failure(0, reason, lost))

    def duplicate(self, n: int) -> None:
        """Add a visible second copy of the first *n* messages, leased or not."""
        with self._server.changed:
            copies = [Copy(c.message_id, c.body, c.key) for c in list(self.copies)[:n]]
            self.copies += copies
            self._server.changed.notify_all()

    def lose_leases(self) -> None:
        """End all leases: the messages are visible, and their deliveries can't be settled."""
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
    """The server behind one or more fake providers.

    Attributes:
        clock: measures leases; a ``receive`` that waits uses the machine's clock.
        limits: of all queues created from now on.
        counts_attempts: deliveries have a number.
        trouble: called with queue and operation before each request; an error that it returns is
            raised.
        queues: by name.
        changed: notified of each change; its lock protects the queues.
        numbers: for names and handles of messages.
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
