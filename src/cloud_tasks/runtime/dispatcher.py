"""Move tasks from the source to the executor, never more than its slots can use soon.

    Intake.receive ──► room? ──► Executor.submit ──► future ──► Completer.on_outcome
                         ▲                                            │
                         └────────── one task fewer under way ◄───────┘

Everything but ``_on_done``, ``pause`` and ``wake`` runs in the dispatcher's thread, which may block
in the source for ever. Outcomes arrive in the executor's threads; they wake the dispatcher only
when enough room has come together, because each wake-up costs a switch of threads.
"""

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
from cloud_tasks.sources.base import TaskSource, failing_as_source
from cloud_tasks.task import Delivery


class Dispatcher:
    """The dispatcher of a run.

    Args:
        max_runtime: limit of each task, in seconds.
        draining: returns True when no further task may start.
        on_idle: called when the last task has ended and no further one will start.

    Attributes:
        in_source: the dispatcher's thread is in the code of the source, which may be the user's.
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
        #: Wake the dispatcher when no more tasks than this are under way; -1: it does not wait.
        self._wake_at = -1
        self._ended = False
        self._paused: set[str] = set()
        self.in_source = False

    @contextlib.contextmanager
    def calling_source(self) -> Iterator[None]:
        """Set ``in_source`` while the context lasts; whatever is raised in it is the source's.

        Raises:
            CloudTasksError: raised in the body; any other exception becomes a SourceError.
        """
        self.in_source = True
        try:
            with failing_as_source(self._source):
                yield
        finally:
            self.in_source = False

    def dispatch(self) -> None:
        """Receive and submit until the source has ended or no further task may start; blocks.

        Raises:
            SourceError: the source broke, or lacks tasks that were asked for. Tasks that were
                submitted go on.
        """
        self._thread = threading.get_ident()
        while not self._intake.ended:
            room = self._wait_for_room()
            if room is None:
                return
            with self.calling_source():
                deliveries, malformed = self._intake.receive(room)
            for entry in malformed:
                self._completer.reject(entry)
            if malformed:
                self._completer.flush()
            submitted = self._submit_all(deliveries)
            if submitted < len(deliveries):
                self._source.release(deliveries[submitted:])
                return
        self._intake.finish()

    def _wait_for_room(self) -> int | None:
        """Block until tasks may be submitted; return their number, None when there is no more."""
        slots = self._executor.slots
        keep_one_waiting = not self._source.limits.requeues
        ahead = lookahead(slots, self._stats.mean_elapsed_time, keep_one_waiting=keep_one_waiting)
        with self._lock:
            # Half of the tasks that wait may have started before this thread is woken.
            self._wake_at = slots + ahead - max(1, ahead - ahead // 2)
            while self._paused or self._under_way > self._wake_at:
                if self._draining():
                    break
                self._changed.wait()
            self._wake_at = -1
            if self._draining():
                return None
            return max(1, slots + ahead - self._under_way)

    def _submit_all(self, deliveries: Sequence[Delivery]) -> int:
        """Submit *deliveries* until no further task may start; return how many were submitted."""
        submitted = 0
        with self._lock:
            # All at once beforehand, so that the run does not look done in between.
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
        """Submit one task; return False if the executor was shut down in this moment."""
        # Beforehand, because `submit` may run the task before it returns.
        self._stats.submitted += 1
        try:
            future = self._executor.submit(delivery.task, max_runtime=self._max_runtime)
        except BaseException as error:
            self._stats.submitted -= 1
            if isinstance(error, RuntimeError) and self._draining():
                return False
            raise
        future.add_done_callback(functools.partial(self._on_done, delivery))
        return True

    def _on_done(self, delivery: Delivery, future: Future[Outcome]) -> None:
        self._completer.on_outcome(delivery, future)
        if threading.get_ident() == self._thread:
            # The task had ended before the callback was added: no `before_wait` need follow.
            self._completer.flush()
        with self._lock:
            self._under_way -= 1
            self._stats.returned += 1
            if self._under_way <= self._wake_at:
                self._changed.notify_all()
            done = self._is_done()
        if done:
            self._on_idle()

    def finish(self) -> None:
        """Mark the end of all submitting; called after ``dispatch``, however that ended."""
        with self._lock:
            self._ended = True
            done = self._is_done()
        if done:
            self._on_idle()

    # -- from any thread

    def pause(self, reason: str, on: bool) -> None:
        """Stop receiving, or, with *on* False, go on once no other reason is left."""
        with self._lock:
            if on:
                self._paused.add(reason)
            else:
                self._paused.discard(reason)
            self._changed.notify_all()

    def wake(self) -> None:
        """Have the dispatcher check again whether a further task may start."""
        with self._lock:
            self._changed.notify_all()

    def is_done(self) -> bool:
        """Return True if no task runs and none will start; a call of the source may still block."""
        with self._lock:
            return self._is_done()

    def _is_done(self) -> bool:
        return self._under_way == 0 and (self._ended or self._draining())
