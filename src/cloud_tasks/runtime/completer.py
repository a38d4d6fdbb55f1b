"""Handle outcomes: decide, record the event in every sink, then pass both to the outbox.

    on_outcome ──► policy.decide ──► Recorder.task_event ──► lines, settled
                                                                │ flush, or 64 KiB
                         outbox.put ◄── every sink has them ◄───┘

In this order, so that a crash in between repeats an event and never loses one. Outcomes arrive in
the executor's threads; a lock makes one of them write at a time. While a sink fails, nothing is
passed on, and the supervisor calls ``retry``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeAlias

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

#: The decision about an entry that is not a task.
_REJECTED = Decision(retry=False, settlement=Settlement.DEAD_LETTER, succeeded=False)
#: Bytes of events that are written at once, even while more outcomes are arriving.
_FULL = 64 * 1024

#: Called with a task and its outcome, in the executor's threads; must not block.
OnOutcome: TypeAlias = Callable[[Delivery, Outcome], None]


class Completer:
    """The completer of a run; all methods may be called from any thread.

    Args:
        source: knows which deliveries have lost their lease.
        sinks: all of them have an event before it is passed on; they must be fast.
        outbox: gets events and decisions afterwards.
        clock: measures how long a sink has failed.
        on_outcome, all_outcomes: as in :class:`~cloud_tasks.runtime.run.Run`.
        on_error: called with an EventLogError when a sink begins to fail, and with any other
            exception in the handling of an outcome.
        failure_limit: ends the run when reached; None means no limit.
        on_failure_limit: called once, when it is reached.
        draining: returns True once no further task may start.
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
        on_outcome: OnOutcome,
        all_outcomes: bool,
        on_error: Callable[[BaseException], None],
        failure_limit: FailureLimit | None,
        on_failure_limit: Callable[[], None],
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._source = source
        self._outbox = outbox
        self._sinks = sinks
        self._recorder = recorder
        self._rules = rules
        self._stats = stats
        self._clock = clock
        self._on_outcome = on_outcome
        self._all_outcomes = all_outcomes
        self._on_error = on_error
        self._failure_limit = failure_limit
        self._on_failure_limit = on_failure_limit
        self._draining = draining
        self._lock = threading.RLock()
        self._lines: list[bytes] = []
        self._size = 0
        self._settled: list[Settled] = []
        # The batch that is being written: by sink, for those that don't have it yet; and whole, for
        # the outbox afterwards.
        self._pending: dict[EventSink, list[bytes]] = {}
        self._writing: tuple[list[bytes], list[Settled]] = ([], [])
        self._failing_since: float | None = None
        self._warned_of_nan = False

    def on_outcome(self, delivery: Delivery, future: Future[Outcome]) -> None:
        """Handle the outcome of *delivery*; never raises, as it is a done-callback."""
        try:
            self._complete(delivery, future.result())
        except BaseException as error:
            # concurrent.futures would log and drop it, and the worker would wait for ever.
            logger.exception("the outcome of task %r could not be recorded", delivery.task.task_id)
            self._on_error(error)

    def _complete(self, delivery: Delivery, outcome: Outcome) -> None:
        decision = decide(outcome, delivery, self._rules)
        if isinstance(outcome, Aborted) and self._stays_undone(outcome):
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
        if self._all_outcomes or not decision.succeeded:
            self._on_outcome(delivery, outcome)
        if self._failure_limit is not None and self._stats.exceeds(self._failure_limit):
            self._failure_limit = None
            self._on_failure_limit()
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

    def _stays_undone(self, outcome: Aborted) -> bool:
        """Tell whether a task never started, and has another attempt or was stopped with the run.

        It goes back without an event. Without either, such as where a foreign pool has lost it, the
        task is one that is not done, as any other.
        """
        return outcome.measures.slot is None and (self._rules.requeues or self._draining())

    def reject(self, entry: Malformed) -> None:
        """Record an entry of the source that is not a task, and have it dead-lettered."""
        logger.warning("no task: %s", entry)
        event = self._recorder.non_fatal_exception(f"no task: {entry}")
        self._add([event], (entry, _REJECTED))

    def record(self, event: bytes) -> None:
        """Record an event that belongs to no task; it is written by the next flush."""
        with self._lock:
            self._lines.append(event)

    def _add(self, events: list[bytes], settled: Settled) -> None:
        with self._lock:
            for event in events:
                self._lines.append(event)
                self._size += len(event)
            self._settled.append(settled)
            full = self._size >= _FULL
        if full:
            self.flush()

    # -- writing

    def flush(self) -> None:
        """Write all events to every sink, then pass them on; does nothing while a sink fails."""
        if not self.is_clean:
            with self._lock:
                if self._failing_since is None:
                    self._write()

    def retry(self) -> bool:
        """Write again what a sink refused; return True once all is written."""
        with self._lock:
            return self._write()

    @property
    def is_clean(self) -> bool:
        """Return True if every event is written."""
        return not self._lines and not self._pending

    @property
    def failing_for(self) -> float | None:
        """Return the seconds since a sink began to fail; None if none fails."""
        since = self._failing_since
        return None if since is None else self._clock.monotonic() - since

    def _write(self) -> bool:
        while self._lines or self._pending:
            if not self._pending:
                lines, self._lines, self._size = self._lines, [], 0
                settled, self._settled = self._settled, []
                self._writing = (lines, settled)
                self._pending = dict.fromkeys(self._sinks, lines)
            for sink in list(self._pending):
                try:
                    sink.write(self._pending[sink])
                except EventLogError as error:
                    if self._failing_since is None:
                        self._failing_since = self._clock.monotonic()
                        self._on_error(error)
                    return False
                del self._pending[sink]
            self._outbox.put(*self._writing)
        self._failing_since = None
        return True
