"""From the source to the executor: never more than its slots can use soon."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

from cloud_tasks.executors.base import Executor
from cloud_tasks.outcome import Outcome
from cloud_tasks.runtime.completer import Completer
from cloud_tasks.runtime.intake import Intake, lookahead
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.task import Delivery


class Dispatcher:
    """Takes from *intake* and submits to *executor*, in one thread that may block in the source.

    Outcomes come back in the executor's threads; they make room, and wake this one only when so
    much room has come together that it is worth it.

    Args:
        on_idle: called when the last task is over and no further one will start.
        draining: tells whether no further task may start.
    """

    def __init__(
        self,
        source: TaskSource,
        intake: Intake,
        executor: Executor,
        completer: Completer,
        stats: Stats,
        *,
        max_runtime: float,
        draining: Callable[[], bool],
        on_idle: Callable[[], None],
    ) -> None:
        self._source = source
        self._intake = intake
        self._executor = executor
        self._completer = completer
        self._stats = stats
        self._max_runtime = max_runtime
        self._draining = draining
        self._on_idle = on_idle
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._under_way = 0
        self._thread = 0
        self._waiting_for = -1
        self._ended = False
        self._paused: set[str] = set()
        #: It is blocked, or may be, in the source's code, which may be the user's.
        self.receiving = False

    @contextlib.contextmanager
    def in_source(self) -> Iterator[None]:
        """Mark that this thread is in the source's code."""
        self.receiving = True
        try:
            yield
        finally:
            self.receiving = False

    def run(self) -> None:
        """Work until the source has ended or no further task may start.

        Raises:
            SourceError: the source broke, or lacks what was asked for; what it gave goes on.
        """
        self._thread = threading.get_ident()
        while not self._intake.ended:
            room = self._wait_for_room()
            if room is None:
                return
            with self.in_source():
                deliveries, malformed = self._intake.take(room)
            for entry in malformed:
                self._completer.reject(entry)
            if malformed:
                self._completer.flush()
            submitted = self._submit_all(deliveries)
            if submitted < len(deliveries):
                self._source.release(deliveries[submitted:])
                return
        self._intake.finish()

    def _submit_all(self, deliveries: Sequence[Delivery]) -> int:
        """Submit until no further task may start; returns how many went."""
        submitted = 0
        with self._lock:
            # Beforehand, so that nobody takes the run for done meanwhile.
            self._under_way += len(deliveries)
        try:
            for delivery in deliveries:
                if self._draining() or not self._submit(delivery):
                    break
                submitted += 1
        finally:
            with self._lock:
                self._under_way -= len(deliveries) - submitted
        return submitted

    def _submit(self, delivery: Delivery) -> bool:
        """Submit, unless the executor was shut down between two looks: then False."""
        # Beforehand: `submit` may run the task before it returns.
        self._stats.submitted += 1
        try:
            future = self._executor.submit(delivery.task, max_runtime=self._max_runtime)
        except Exception as error:
            self._stats.submitted -= 1
            if isinstance(error, RuntimeError) and self._draining():
                return False
            raise
        future.add_done_callback(functools.partial(self._on_done, delivery))
        return True

    def _on_done(self, delivery: Delivery, future: Future[Outcome]) -> None:
        self._completer.complete(delivery, future)
        if threading.get_ident() == self._thread:
            # It was over before anybody listened, so the executor may have nothing more to do.
            self._completer.flush()
        with self._lock:
            self._under_way -= 1
            self._stats.returned += 1
            if self._under_way <= self._waiting_for:
                self._changed.notify_all()
            done = self._is_done()
        if done:
            self._on_idle()

    def _is_done(self) -> bool:
        return self._under_way == 0 and (self._ended or self._draining())

    def _wait_for_room(self) -> int | None:
        """Block until tasks may be handed over; returns how many, None: no more at all."""
        slots = self._executor.slots
        hoard = not self._source.limits.requeues
        ahead = lookahead(slots, self._stats.mean_elapsed_time, hoard=hoard)
        with self._lock:
            # Half of the reserve may be used up before this thread is woken.
            self._waiting_for = slots + ahead - max(1, ahead - ahead // 2)
            while self._paused or self._under_way > self._waiting_for:
                if self._draining():
                    break
                self._changed.wait()
            self._waiting_for = -1
            if self._draining():
                return None
            return max(1, slots + ahead - self._under_way)

    def finish(self) -> None:
        """Nothing more will come in; after ``run``, however it ended."""
        with self._lock:
            self._ended = True
            done = self._is_done()
        if done:
            self._on_idle()

    def pause(self, why: str, on: bool) -> None:
        """Take nothing in for the time being, or go on when no other reason is left."""
        with self._lock:
            if on:
                self._paused.add(why)
            else:
                self._paused.discard(why)
            self._changed.notify_all()

    def wake(self) -> None:
        """Let it look again whether a further task may start."""
        with self._lock:
            self._changed.notify_all()

    def is_done(self) -> bool:
        """True if nothing runs and nothing will; it may be blocked in the source all the same."""
        with self._lock:
            return self._is_done()
