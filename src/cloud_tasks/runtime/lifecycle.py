"""Lead a run from its first task to its end: stops, notices, failures, and what follows from each.

    RUNNING ──────────────────────────► no task runs any more ──► drain_and_close
       │ signal, stop(), final notice,     ▲       ▲
       │ failure of the worker             │       │
       ▼                                   │       │
    DRAINING: no new task starts ──────────┘       │
       │ second signal or stop(),                  │
       │ stop(now=True), event log lost            │
       ▼                                           │
    KILLING: running tasks are aborted ────────────┘

Any thread, and signal handlers, post messages to :class:`Lifecycle`; only the
:class:`Supervisor`'s thread handles them. When the grace period of a drain is over, the executor
aborts running tasks by itself. A failure of the source changes no state: the tasks that it gave
before are run to their end. While a sink refuses events, the dispatcher is paused and the
supervisor retries for up to 30 s.
"""

from __future__ import annotations

import enum
import logging
import math
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from cloud_tasks.clock import Clock, next_of
from cloud_tasks.errors import CloudTasksError, EventLogError, SourceError
from cloud_tasks.executors.base import Executor
from cloud_tasks.runtime.completer import Completer
from cloud_tasks.runtime.dispatcher import Dispatcher
from cloud_tasks.runtime.outbox import Outbox
from cloud_tasks.sources.base import TaskSource, failing_as_source
from cloud_tasks.sources.entries import raised
from cloud_tasks.summary import StopReason
from cloud_tasks.system.shortage import start_thread
from cloud_tasks.termination.base import Notice

logger = logging.getLogger(__name__)
console = logging.getLogger("cloud_tasks.console")

#: Seconds that the main thread may wait in one call: Python runs signal handlers in between.
LONGEST_SLEEP = 2.0
#: Seconds between two attempts to write events that a sink refused, and for which they go on.
_RETRY_PERIOD, _RETRY_TIMEOUT = 0.5, 30.0
#: Seconds in which the last events must be sent, and those for the source afterwards: at the end
#: of the work, after a stop, and after a second one.
CLOSE_TIMEOUTS = (60.0, 15.0)
CLOSE_TIMEOUTS_STOPPED = (5.0, 4.5)
CLOSE_TIMEOUTS_KILLED = (1.0, 1.5)
#: The reason with the largest weight is reported, of equal ones the first: as with exit codes.
_WEIGHT = {
    StopReason.DONE: 0,
    StopReason.REQUESTED: 1,
    StopReason.FAILED: 2,
    StopReason.TOO_MANY_FAILURES: 3,
    StopReason.SPOT: 4,
    StopReason.SIGINT: 5,
    StopReason.SIGTERM: 5,
}


class State(enum.Enum):
    """The state of a run, see the drawing above."""

    RUNNING = enum.auto()
    DRAINING = enum.auto()
    KILLING = enum.auto()


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to end the run; *now*: kill running tasks."""

    reason: StopReason
    now: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of the worker, not of a task, that ends the run; *now*: kill running tasks."""

    error: BaseException
    now: bool = False


@dataclass(frozen=True, slots=True)
class WriteFailure:
    """The first failure of a sink, which may pass."""

    error: EventLogError


@dataclass(frozen=True, slots=True)
class AllDone:
    """The source has ended and no task runs any more."""


Message: TypeAlias = Stop | Failure | WriteFailure | AllDone | Notice


def _ends_intake(message: Message) -> bool:
    match message:
        case Notice(final=final):
            return final
        case Failure(error=error):  # tasks that a broken source gave before are still run
            return not isinstance(error, SourceError)
        case _:
            return isinstance(message, Stop)


class Lifecycle:
    """The state of a run, and the inbox for all requests to change it.

    ``post`` may be called from any thread and from signal handlers: a SimpleQueue's ``put`` may
    interrupt itself. All other methods are for the supervisor's thread.

    Args:
        executor: gets the flags of the tasks, and is shut down step by step.
        grace: seconds that running tasks get after a stop.
        under_way: returns the number of tasks that the executor has.

    Attributes:
        reason: why the run ends.
        failure: the first failure of the worker.
        draining: no further task may start. Not a threading.Event: a signal handler that
            interrupts another one within its ``set()`` would wait for ever.
        kill_requested: a stop asked for a kill, so work that can be done later is not waited for.
    """

    def __init__(self, executor: Executor, grace: float, under_way: Callable[[], int]) -> None:
        self._executor = executor
        self._grace = grace
        self._under_way = under_way
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stop_requested = False
        self.state = State.RUNNING
        self.reason = StopReason.DONE
        self.failure: CloudTasksError | None = None
        self.draining = False
        self.kill_requested = False

    def post(self, message: Message) -> None:
        """Have the supervisor handle *message*; doesn't block."""
        if _ends_intake(message):
            # At once, so that no task starts before the supervisor handles the message.
            self.draining = True
        self._inbox.put(message)

    def next_message(self, timeout: float) -> Message | None:
        """Return the next message; None if there is none within *timeout* seconds or 2 s.

        Python runs a signal handler when its main thread does something, and a signal may be
        delivered to another thread while the main one sleeps: so no wait here is a long one.
        """
        try:
            return next_of(self._inbox, min(timeout, LONGEST_SLEEP))
        except queue.Empty:
            return None

    def stop(self, message: Stop) -> None:
        """Drain; at the second stop, or if *message* says so, kill."""
        # A stop by --max-failures does not count as the first Ctrl-C.
        second = self._stop_requested
        self._stop_requested = second or message.reason is not StopReason.TOO_MANY_FAILURES
        self._set_reason(message.reason)
        self.draining = True
        if second or message.now:
            self.kill_requested = True
            self._kill("killed on request" if message.now else "stopped for the second time")
        else:
            self._drain(self._grace, "the grace period was over")
            self._print_stop(message.reason)
        # After the drain: a task that ends because of the flag leaves a slot that must stay empty.
        self._executor.request_shutdown()

    def _print_stop(self, reason: StopReason) -> None:
        running = min(self._under_way(), self._executor.slots)
        if not running:
            console.info("stopping: no task is running")
            return
        console.info(
            "stopping: %s may finish within %g s (%s kills %s now)",
            "1 running task" if running == 1 else f"{running} running tasks",
            self._grace,
            "Ctrl-C again" if reason is StopReason.SIGINT else "a second signal",
            "it" if running == 1 else "them",
        )

    def notice(self, notice: Notice) -> None:
        """Drain at a final notice; kill when the provider has announced to, if it has."""
        if not notice.final:
            logger.warning("this machine may be taken away soon (%s): work goes on", notice.kind)
            return
        self._set_reason(StopReason.SPOT)
        self.draining = True
        after = math.inf if notice.kill_after is None else notice.kill_after
        logger.warning("this machine will be taken away (%s): no new task starts", notice.kind)
        self._drain(after, f"the machine is taken away ({notice.kind})")
        self._executor.announce_termination()

    def fail(self, failure: Failure) -> None:
        """Record a failure of the worker, and drain or kill unless it is the source's."""
        if self.failure is None:
            self.failure = _as_our_own(failure.error)
        self._set_reason(StopReason.FAILED)
        if isinstance(failure.error, SourceError):
            return
        self.draining = True
        if failure.now:
            self._kill("the worker failed")
        else:
            self._drain(math.inf, "the worker failed")

    def _set_reason(self, reason: StopReason) -> None:
        if _WEIGHT[reason] > _WEIGHT[self.reason]:
            self.reason = reason

    def _drain(self, grace: float, reason: str) -> None:
        # Of several shutdowns the executor obeys the one that ends first.
        if self.state is State.RUNNING:
            self.state = State.DRAINING
        self._executor.shutdown(grace=grace, reason=reason, wait=False)

    def _kill(self, reason: str) -> None:
        if self.state is not State.KILLING:
            self.state = State.KILLING
            logger.warning("killing what still runs: %s", reason)
        self._executor.shutdown(reason=reason, wait=False, now=True)


def _as_our_own(error: BaseException) -> CloudTasksError:
    """Return *error*, or what says that an exception of another type is a defect."""
    if isinstance(error, CloudTasksError):
        return error
    wrapped = CloudTasksError(f"a defect in cloud_tasks: {raised(error)}")
    wrapped.__cause__ = error
    return wrapped


class Supervisor:
    """The thread that handles the messages of *lifecycle*; it never blocks for long.

    Attributes:
        event_log_failed: a sink has failed for good, so events are no longer written to it.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        dispatcher: Dispatcher,
        completer: Completer,
        source: TaskSource,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._lifecycle = lifecycle
        self._dispatcher = dispatcher
        self._completer = completer
        self._source = source
        self._outbox = outbox
        self._clock = clock
        self._write_error: Exception | None = None
        self.event_log_failed = False

    def run(self) -> None:
        """Handle messages until no task runs any more; blocks."""
        while True:
            failing = self._completer.failing_for
            message = self._lifecycle.next_message(math.inf if failing is None else _RETRY_PERIOD)
            if message is not None:
                self._handle(message)
            if failing is not None:
                self._retry_events(failing)
            # The state is asked, not the dispatcher's thread: it may be blocked in the source.
            if self._dispatcher.is_done():
                self._completer.flush()
                if self._completer.is_clean or self.event_log_failed:
                    break
        while (message := self._lifecycle.next_message(0)) is not None:
            self._handle(message)

    def _handle(self, message: Message) -> None:
        if isinstance(message, Stop):
            self._lifecycle.stop(message)
        elif isinstance(message, Notice):
            self._lifecycle.notice(message)
        elif isinstance(message, Failure):
            self._lifecycle.fail(message)
        elif isinstance(message, WriteFailure):
            self._pause(message.error)
        if self._lifecycle.draining:
            self._source.drain(now=self._lifecycle.kill_requested)
            self._outbox.stop_lingering()
        self._dispatcher.wake()

    # -- events that a sink refuses

    def _pause(self, error: Exception) -> None:
        self._write_error = error
        # A retry with an earlier message may have succeeded: nothing would end the pause then.
        if self._completer.failing_for is not None:
            logger.error("%s; no new task starts until it works again", error)
            self._dispatcher.pause("unwritten events", True)

    def _retry_events(self, failing: float) -> None:
        if self._completer.retry():
            logger.warning("events are written again")
            self._dispatcher.pause("unwritten events", False)
        elif failing > _RETRY_TIMEOUT and not self.event_log_failed:
            self.event_log_failed = True
            error = EventLogError(f"{self._write_error}; tried for {_RETRY_TIMEOUT:g} s")
            logger.error("%s: giving up", error)
            self._handle(Failure(error, now=True))

    # -- the end

    def drain_and_close(self) -> None:
        """Send the last events, settle the last tasks, and have the source give back the others.

        The provider may be unreachable, so this takes a limited time only, a short one after a
        stop, and a very short one after a second stop. Tasks that could not be settled by then
        will be delivered again.
        """
        if not self._outbox.needed:
            return
        closing = threading.Thread(target=self._close, name="cloud_tasks-ending", daemon=True)
        start_thread(closing)
        timeouts: tuple[float, float] | None = None
        deadline = math.inf
        while closing.is_alive():
            now = self._clock.monotonic()
            if timeouts != self._timeouts():
                # Both together from now on, so that the source, which is last, gets its share.
                timeouts = self._timeouts()
                deadline = min(deadline, now + sum(timeouts))
            if deadline <= now:
                logger.warning("not every task could be settled in time: some will run again")
                break
            self._handle_at_end(deadline - now)
        while self._handle_at_end(0):
            pass

    def _handle_at_end(self, timeout: float) -> bool:
        """Handle the next message; return False if there is none within *timeout* seconds."""
        message = self._lifecycle.next_message(timeout)
        if isinstance(message, Failure):
            message = Failure(message.error)  # no task runs that could be killed
        if message is not None:
            self._handle(message)
        return message is not None

    def _close(self) -> None:
        try:
            self._outbox.finish(lambda: self._timeouts()[0])
        except BaseException as error:  # noqa: BLE001 - the run fails with it
            self._lifecycle.post(Failure(error))
        try:
            with failing_as_source(self._source):
                self._source.close()
        except CloudTasksError as error:
            self._lifecycle.post(Failure(error))
        finally:
            self._lifecycle.post(AllDone())

    def _timeouts(self) -> tuple[float, float]:
        """Return the seconds for the outbox, and those for the source."""
        if self._lifecycle.kill_requested:
            return CLOSE_TIMEOUTS_KILLED
        return CLOSE_TIMEOUTS_STOPPED if self._lifecycle.draining else CLOSE_TIMEOUTS
