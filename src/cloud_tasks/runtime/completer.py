"""What happens when a task is over: decide, record, then hand over to who tells the source.

In this order: a crash in between repeats an event and never loses one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from cloud_tasks.clock import Clock
from cloud_tasks.errors import EventLogError
from cloud_tasks.events.causes import cause_of
from cloud_tasks.events.records import Recorder
from cloud_tasks.events.sink import EventSink
from cloud_tasks.outcome import Aborted, Completed, Outcome
from cloud_tasks.policy import Decision, FailureLimit, RetryRules, Settlement, decide
from cloud_tasks.runtime.outbox import Outbox, Settled
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery, Malformed

logger = logging.getLogger(__name__)

#: What is done about an entry that is no task.
_REJECTED = Decision(retry=False, settlement=Settlement.DEAD_LETTER, succeeded=False)
#: Bytes of events that are written even while more outcomes are coming in.
_FULL = 64 * 1024
#: Seconds that writing events is tried before the worker gives up.
PATIENCE = 30.0


class Listener(Protocol):
    """Somebody who wants to hear how tasks end, at once; must not block."""

    def __call__(self, delivery: Delivery, outcome: Outcome) -> None:
        """Take *outcome*."""


class Completer:
    """Takes outcomes from the executor's threads.

    Args:
        source: knows which deliveries it has lost.
        sinks: all of them have an event before it goes on; fast ones.
        outbox: takes it from there.
        recorder: makes the events.
        rules: which ends are retried.
        stats: counts.
        clock: for the patience with a sink that fails.
        listener: hears of every task that is not done.
        hear_all: and of those that are.
        on_trouble: called when a sink begins to fail, and with an error of ours.
        failure_limit: so many failures are too many.
        on_too_many: called once, when they are.
    """

    def __init__(
        self,
        source: TaskSource,
        sinks: list[EventSink],
        recorder: Recorder,
        rules: RetryRules,
        stats: Stats,
        clock: Clock,
        *,
        outbox: Outbox,
        listener: Listener,
        hear_all: bool,
        on_trouble: Callable[[Exception], None],
        failure_limit: FailureLimit | None,
        on_too_many: Callable[[], None],
    ) -> None:
        self._source = source
        self._outbox = outbox
        self._sinks = sinks
        self._recorder = recorder
        self._rules = rules
        self._stats = stats
        self._clock = clock
        self._listener = listener
        self._hear_all = hear_all
        self._on_trouble = on_trouble
        self._failure_limit = failure_limit
        self._on_too_many = on_too_many
        self._lock = threading.RLock()
        self._lines: list[bytes] = []
        self._size = 0
        self._settled: list[Settled] = []
        #: What is being written: to the sinks that don't have it yet, and then to the outbox.
        self._batches: dict[EventSink, list[bytes]] = {}
        self._writing: tuple[list[bytes], list[Settled]] = ([], [])
        self._failing_since: float | None = None
        self._warned_of_nan = False

    def complete(self, delivery: Delivery, future: Future[Outcome]) -> None:
        """Take the outcome of *delivery*; a done-callback, so it must not raise."""
        try:
            self._complete(delivery, future.result())
        except Exception as error:
            # concurrent.futures would log it and go on, and the worker wait for ever.
            logger.exception("the outcome of task %r could not be recorded", delivery.task.task_id)
            self._on_trouble(error)

    def _complete(self, delivery: Delivery, outcome: Outcome) -> None:
        decision = decide(outcome, delivery, self._rules)
        if isinstance(outcome, Aborted) and outcome.measures.slot is None:
            # Never begun: it goes back as if it had not been here.
            self._outbox.put([], [(delivery, decision)])
            return
        events = [
            self._recorder.task_event(
                delivery,
                outcome,
                retry=decision.retry,
                lease_lost=self._rules.requeues and self._source.has_lost(delivery),
            )
        ]
        if decision.settlement is Settlement.DEAD_LETTER:
            events.append(self._recorder.task_dead(delivery, cause_of(outcome)))
            logger.warning(
                "task %r is given up after %d attempts", delivery.task.task_id, delivery.attempt
            )
        self._stats.add(delivery, outcome, decision)
        if self._hear_all or not decision.succeeded:
            self._listener(delivery, outcome)
        if self._failure_limit is not None and self._stats.exceeds(self._failure_limit):
            self._failure_limit = None
            self._on_too_many()
        if isinstance(outcome, Completed) and outcome.replaced_nan and not self._warned_of_nan:
            self._warned_of_nan = True
            logger.warning(
                "NaN or an infinity in the result of task %r became null, as JSON has neither; "
                "further ones do so silently",
                delivery.task.task_id,
            )
        self._add(events, (delivery, decision))
        if self._rules.requeues:
            self._source.task_ended(delivery)

    def _add(self, events: list[bytes], settled: Settled) -> None:
        with self._lock:
            for event in events:
                self._lines.append(event)
                self._size += len(event)
            self._settled.append(settled)
            full = self._size >= _FULL
        if full:
            self.flush()

    def reject(self, entry: Malformed) -> None:
        """Take an entry of the source that is no task."""
        logger.warning("no task: %s", entry)
        event = self._recorder.non_fatal_exception(f"no task: {entry}")
        self._add([event], (entry, _REJECTED))

    def record(self, event: bytes) -> None:
        """Take an event that belongs to no task."""
        with self._lock:
            self._lines.append(event)

    def flush(self) -> None:
        """Write what is there to every sink, then settle."""
        if not self.is_clean:
            with self._lock:
                if self._failing_since is None:  # `retry` has its own pace
                    self._write()

    @property
    def is_clean(self) -> bool:
        """Nothing is left to write."""
        return not self._lines and not self._batches

    def _write(self) -> bool:
        while self._lines or self._batches:
            if not self._batches:
                lines, self._lines, self._size = self._lines, [], 0
                settled, self._settled = self._settled, []
                self._writing = (lines, settled)
                self._batches = dict.fromkeys(self._sinks, lines)
            for sink in list(self._batches):
                try:
                    sink.write(self._batches[sink])
                except EventLogError as error:
                    if self._failing_since is None:
                        self._failing_since = self._clock.monotonic()
                        self._on_trouble(error)
                    return False
                del self._batches[sink]
            self._outbox.put(*self._writing)
        self._failing_since = None
        return True

    def retry(self) -> bool:
        """Try again to write what a sink refused; True once all is written."""
        with self._lock:
            return self._write()

    @property
    def failing_for(self) -> float | None:
        """Seconds since a sink began to fail; None: all is well."""
        since = self._failing_since
        return None if since is None else self._clock.monotonic() - since
