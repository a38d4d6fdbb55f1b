"""A queue whose requests are repeated as long as repeating may help.

Adapters never repeat a request by themselves, so this is the only place that decides how often,
with which pauses and for how long.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from cloud_tasks.clock import Clock
from cloud_tasks.errors import QueueError, QueueMissingError, QueueUnavailableError
from cloud_tasks.queues.base import Failure, Message, MessageQueue, Outgoing, QueueInfo
from cloud_tasks.queues.batching import Item, SomeFailedError, parts

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")

#: Called with the operation, what is wrong, and the seconds since its first failure in a row.
OnTrouble: TypeAlias = Callable[[str, QueueError, float], None]

#: Seconds that each operation goes on trying unless a call says otherwise.
BUDGETS: Mapping[str, float] = {
    "check": 60.0,
    "receive": math.inf,
    "extend": 30.0,
    "ack": 60.0,
    "release": 20.0,
    "send": 60.0,
}
#: Seconds that a queue which was there may be missing: somebody may be making it anew.
MISSING_GRACE = 60.0
#: Seconds between two reports of the same trouble.
REPORT_EVERY = 60.0
#: Seconds within which a pause notices ``close``.
_SLICE = 0.1


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses between tries, in seconds: random, from nothing to a bound that doubles.

    Attributes:
        first: bound of the first pause.
        longest: of any.
    """

    first: float = 0.2
    longest: float = 5.0


class _Troubles:
    """Tells of the first failure of each operation, and then once a minute."""

    def __init__(self, on_trouble: OnTrouble) -> None:
        self._on_trouble = on_trouble
        self._lock = threading.Lock()
        self._series: dict[str, tuple[float, float]] = {}

    def tell(self, operation: str, error: QueueError, now: float) -> None:
        with self._lock:
            first, told = self._series.get(operation, (now, -math.inf))
            due = now - told >= REPORT_EVERY
            self._series[operation] = (first, now if due else told)
        if due:
            self._on_trouble(operation, error, now - first)

    def over(self, operation: str) -> None:
        with self._lock:
            self._series.pop(operation, None)


class RetryingQueue(MessageQueue):
    """*queue* with repeats; everything else about it is the same.

    A call goes on until it succeeds, until its budget of seconds would be over before the next
    try, or until *stop*; then it raises what the last try raised. Messages that failed alone are
    tried again alone, and those still left at the end are returned; what failed with ``lost`` is
    never tried again. ``QueueRefusedError`` is final at once. So is ``QueueMissingError`` for
    ``check``; of a queue in use it is final when the queue has been missing for
    :data:`MISSING_GRACE` seconds, and until then reported as ``QueueUnavailableError``.

    Args:
        queue: makes the requests.
        stop: once set, a pause ends at once, and a request is tried once more at most; ``receive``
            not even that: it returns an empty list.
        budgets: seconds by operation, in place of :data:`BUDGETS`.
        on_trouble: called from the thread in trouble when an operation first fails, and then
            once a minute until it works; must not raise.
        pauses: between two tries.
        clock: by which reports and :data:`MISSING_GRACE` go.
    """

    def __init__(
        self,
        queue: MessageQueue,
        *,
        stop: threading.Event,
        budgets: Mapping[str, float] | None = None,
        on_trouble: OnTrouble = lambda operation, error, seconds: None,
        pauses: Pauses = Pauses(),
        clock: Clock | None = None,
    ) -> None:
        super().__init__(queue.name)
        self.limits = queue.limits
        self.requests = queue.requests
        self._queue = queue
        self._stop = stop
        self._closed = False
        self._budgets = {**BUDGETS, **(budgets or {})}
        self._pauses = pauses
        self._clock = clock or Clock()
        self._troubles = _Troubles(on_trouble)
        self._missing_since: float | None = None

    def check(self, *, budget: float | None = None) -> QueueInfo:
        """Check, going on for *budget* seconds if the queue can't be reached."""
        return self._repeat("check", self._queue.check, self._limit("check", budget))

    def receive(
        self,
        n: int,
        *,
        wait: float,
        lease: float,
        budget: float | None = None,
        on_try: Callable[[], None] = lambda: None,
    ) -> list[Message]:
        """Receive; an empty list as well if ``stop`` was set while the queue was in trouble.

        *on_try* is called before each request: leases count from the last one, which may be
        much later than the call.
        """
        tried = False

        def receive() -> list[Message]:
            nonlocal tried
            if tried and self._stopped():
                return []  # what came now would only have to go back
            tried = True
            on_try()
            return self._queue.receive(n, wait=wait, lease=lease)

        return self._repeat("receive", receive, self._limit("receive", budget))

    def extend(
        self, messages: Sequence[Message], seconds: float, *, budget: float | None = None
    ) -> list[Failure]:
        """Extend, going on for *budget* seconds: no longer than the leases last."""
        return self._each(
            "extend", messages, lambda some: self._queue.extend(some, seconds), budget
        )

    def ack(self, messages: Sequence[Message], *, budget: float | None = None) -> list[Failure]:
        """Delete, going on for *budget* seconds."""
        return self._each("ack", messages, self._queue.ack, budget)

    def release(
        self, messages: Sequence[Message], *, delay: float = 0.0, budget: float | None = None
    ) -> list[Failure]:
        """Give back, going on for *budget* seconds."""
        return self._each(
            "release", messages, lambda some: self._queue.release(some, delay=delay), budget
        )

    def send(self, messages: Sequence[Outgoing], *, budget: float | None = None) -> list[Failure]:
        """Send, going on for *budget* seconds; what is sent again may come twice."""
        return self._each("send", messages, self._queue.send, budget)

    def close(self) -> None:
        """Close the queue; whoever pauses before another try gives up."""
        self._closed = True
        self._queue.close()

    def __str__(self) -> str:
        return str(self._queue)

    def _limit(self, operation: str, budget: float | None) -> float:
        return self._budgets[operation] if budget is None else budget

    def _stopped(self) -> bool:
        return self._closed or self._stop.is_set()

    def _each(
        self,
        operation: str,
        items: Sequence[Item],
        request: Callable[[Sequence[Item]], list[Failure]],
        budget: float | None,
    ) -> list[Failure]:
        """Make *request* of all *items*, one request at a time: only what failed is repeated."""
        deadline = time.monotonic() + self._limit(operation, budget)
        failures: list[Failure] = []
        for part in parts(items, self.limits, request):
            try:
                self._repeat(operation, part.attempt, deadline - time.monotonic())
            except SomeFailedError:
                failures += part.failed
            failures += part.lost
        return sorted(failures, key=lambda failure: failure.index)

    def _repeat(self, operation: str, request: Callable[[], T], seconds: float) -> T:
        """Make *request* until it succeeds or *seconds* would be over before the next try."""
        import tenacity

        pauses = tenacity.wait_random_exponential(
            multiplier=self._pauses.first, max=self._pauses.longest
        )
        out_of_time = tenacity.stop_before_delay(seconds)

        def wait(state: tenacity.RetryCallState) -> float:
            return max(0.0, min(pauses(state), self._grace_left()))

        def stop(state: tenacity.RetryCallState) -> bool:
            return self._stopped() or out_of_time(state)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(QueueUnavailableError),
            wait=wait,
            stop=stop,
            sleep=self._pause,
            reraise=True,
        )
        answer: T = retrying(self._try, operation, request)
        return answer

    def _try(self, operation: str, request: Callable[[], T]) -> T:
        try:
            answer = request()
        except QueueUnavailableError as error:
            self._missing_since = None  # as far as anybody can tell
            self._troubles.tell(operation, error, self._clock.monotonic())
            raise
        except QueueMissingError as error:
            if operation == "check":
                raise
            now = self._clock.monotonic()
            if self._missing_since is None:
                self._missing_since = now
            if self._grace_left() <= 0:
                raise
            self._troubles.tell(operation, error, now)
            raise QueueUnavailableError(str(error)) from error
        self._missing_since = None
        self._troubles.over(operation)
        return answer

    def _grace_left(self) -> float:
        """Seconds for which a missing queue is still waited for."""
        since = self._missing_since
        return math.inf if since is None else since + MISSING_GRACE - self._clock.monotonic()

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopped() and (left := deadline - time.monotonic()) > 0:
            self._stop.wait(min(left, _SLICE))
