"""Repeat the requests of a queue as long as repeating may help.

Adapters never repeat a request by themselves, so this is the only place that decides how often,
with which pauses and for how long. The pauses are tenacity's.
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
from cloud_tasks.queues.base import Backlog, Failure, Message, MessageQueue, Outgoing, QueueInfo
from cloud_tasks.queues.batching import Item, SomeFailedError, split_into_requests

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")

#: Called with the operation, its error, and the seconds since its first failure in a row.
OnTrouble: TypeAlias = Callable[[str, QueueError, float], None]

#: Seconds that each operation is retried for, unless a call says otherwise.
BUDGETS: Mapping[str, float] = {
    "check": 60.0,
    "receive": math.inf,
    "extend": 30.0,
    "ack": 60.0,
    "release": 20.0,
    "send": 60.0,
    "backlog": 30.0,
}
#: Seconds for which a missing queue that was there before is retried: it may be created anew.
MISSING_GRACE = 60.0
#: Seconds between two reports of the same trouble.
REPORT_EVERY = 60.0
#: Seconds within which a pause between two attempts notices ``close``.
_CLOSE_CHECK_INTERVAL = 0.1


@dataclass(frozen=True, slots=True)
class Pauses:
    """Pauses between attempts: random, from 0 to a bound that doubles from *first* to *longest*.

    Both are in seconds.
    """

    first: float = 0.2
    longest: float = 5.0


class _TroubleReporter:
    """Reports the first failure of each operation, and then one failure a minute."""

    def __init__(self, on_trouble: OnTrouble) -> None:
        self._on_trouble = on_trouble
        self._lock = threading.Lock()
        #: By operation: when its failures in a row began, and when the last one was reported.
        self._failing: dict[str, tuple[float, float]] = {}

    def on_failure(self, operation: str, error: QueueError, now: float) -> None:
        with self._lock:
            first, reported = self._failing.get(operation, (now, -math.inf))
            due = now - reported >= REPORT_EVERY
            self._failing[operation] = (first, now if due else reported)
        if due:
            self._on_trouble(operation, error, now - first)

    def on_success(self, operation: str) -> None:
        with self._lock:
            self._failing.pop(operation, None)


class RetryingQueue(MessageQueue):
    """A queue like *queue* whose failed requests are repeated.

    A call is repeated until it succeeds, until its budget of seconds would be over before the next
    attempt, or until *stop* is set; then it raises the error of the last attempt. Messages that
    failed alone are tried again alone, and those that still fail at the end are returned; messages
    that failed with ``lost`` are never tried again. ``QueueRefusedError`` is final at once. So is
    ``QueueMissingError`` for ``check``; for other operations it is final when the queue has been
    missing for :data:`MISSING_GRACE` seconds, and until then raised as ``QueueUnavailableError``.

    Args:
        queue: makes the requests.
        stop: once set, a pause ends at once and is followed by one more attempt at most;
            ``receive`` makes none and returns an empty list.
        budgets: seconds by operation, in place of :data:`BUDGETS`.
        on_trouble: called in the thread of the request when an operation first fails, and then
            once a minute until it works; must not raise.
        pauses: between two attempts.
        clock: measures reports and :data:`MISSING_GRACE`.
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
        self._reporter = _TroubleReporter(on_trouble)
        self._missing_since: float | None = None

    def check(self, *, budget: float | None = None) -> QueueInfo:
        """Check the queue, retrying for *budget* seconds."""
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
        """Receive messages, retrying for *budget* seconds; no retry after ``stop`` was set.

        *on_try* is called before each request, because leases count from the last one, which may
        be much later than the call.
        """
        tried = False

        def receive() -> list[Message]:
            nonlocal tried
            if tried and self._stopped():
                return []  # messages received now would have to be released at once
            tried = True
            on_try()
            return self._queue.receive(n, wait=wait, lease=lease)

        return self._repeat("receive", receive, self._limit("receive", budget))

    def extend(
        self, messages: Sequence[Message], seconds: float, *, budget: float | None = None
    ) -> list[Failure]:
        """Extend leases, retrying for *budget* seconds: no longer than the leases last."""
        return self._each(
            "extend", messages, lambda some: self._queue.extend(some, seconds), budget
        )

    def ack(self, messages: Sequence[Message], *, budget: float | None = None) -> list[Failure]:
        """Delete messages, retrying for *budget* seconds."""
        return self._each("ack", messages, self._queue.ack, budget)

    def release(
        self, messages: Sequence[Message], *, delay: float = 0.0, budget: float | None = None
    ) -> list[Failure]:
        """Make messages visible again, retrying for *budget* seconds."""
        return self._each(
            "release", messages, lambda some: self._queue.release(some, delay=delay), budget
        )

    def send(self, messages: Sequence[Outgoing], *, budget: float | None = None) -> list[Failure]:
        """Send messages, retrying for *budget* seconds; a retried one may be delivered twice."""
        return self._each("send", messages, self._queue.send, budget)

    def backlog(self, *, budget: float | None = None) -> Backlog:
        """Count the messages that are not deleted yet, retrying for *budget* seconds."""
        return self._repeat("backlog", self._queue.backlog, self._limit("backlog", budget))

    def close(self) -> None:
        """Close the queue; calls that pause before another attempt give up."""
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
        make_request: Callable[[Sequence[Item]], list[Failure]],
        budget: float | None,
    ) -> list[Failure]:
        """Make the requests for *items* one after the other; repeat of each only what failed."""
        deadline = time.monotonic() + self._limit(operation, budget)
        failures: list[Failure] = []
        for request in split_into_requests(items, self.limits, make_request):
            try:
                self._repeat(operation, request.attempt, deadline - time.monotonic())
            except SomeFailedError:
                failures += request.failed
            failures += request.lost
        return sorted(failures, key=lambda failure: failure.index)

    def _repeat(self, operation: str, request: Callable[[], T], seconds: float) -> T:
        """Repeat *request* until it succeeds or *seconds* would be over before the next attempt."""
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
            self._missing_since = None  # unknown while it can't be reached
            self._reporter.on_failure(operation, error, self._clock.monotonic())
            raise
        except QueueMissingError as error:
            if operation == "check":
                raise
            now = self._clock.monotonic()
            if self._missing_since is None:
                self._missing_since = now
            if self._grace_left() <= 0:
                raise
            self._reporter.on_failure(operation, error, now)
            raise QueueUnavailableError(str(error)) from error
        self._missing_since = None
        self._reporter.on_success(operation)
        return answer

    def _grace_left(self) -> float:
        """Return the seconds for which a missing queue is still retried."""
        since = self._missing_since
        return math.inf if since is None else since + MISSING_GRACE - self._clock.monotonic()

    def _pause(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stopped() and (left := deadline - time.monotonic()) > 0:
            self._stop.wait(min(left, _CLOSE_CHECK_INTERVAL))
