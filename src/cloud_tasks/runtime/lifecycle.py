"""How a run goes from its first task to its end.

::

    RUNNING ──source ended──────────────────────────► ENDED   when nothing runs any more
       │                                                ▲
       └─signal, stop(), notice, our own trouble─► DRAINING ─grace over, or asked again─► kill
"""

from __future__ import annotations

import enum
import logging
import math
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cloud_tasks.clock import Clock, next_of
from cloud_tasks.errors import EventLogError, SourceError
from cloud_tasks.executors.base import Executor
from cloud_tasks.runtime.completer import PATIENCE, Completer
from cloud_tasks.runtime.dispatcher import Dispatcher
from cloud_tasks.runtime.outbox import Outbox
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.summary import StopReason
from cloud_tasks.termination.base import Notice

logger = logging.getLogger(__name__)
console = logging.getLogger("cloud_tasks.console")


#: Seconds after which the main thread looks for signals at the latest.
LONGEST_SLEEP = 2.0
#: Of several reasons the weightiest is told, of equals the first: as with exit codes.
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
    """Where a run stands."""

    RUNNING = enum.auto()
    DRAINING = enum.auto()
    KILLING = enum.auto()


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody wants the run to end."""

    reason: StopReason
    now: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """The worker can't go on: ours, not a task's."""

    error: Exception
    now: bool = False


@dataclass(frozen=True, slots=True)
class AllDone:
    """The source has ended and nothing runs any more."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """Events can't be written at the moment."""

    error: Exception


Message = Stop | Failure | AllDone | Stuck | Notice


class Lifecycle:
    """The state of a run, and the inbox by which everybody asks for a change of it.

    Only the supervisor changes the state. ``post`` may be called from any thread and from signal
    handlers: a SimpleQueue may be put to while it is being put to.

    Args:
        executor: is shut down by and by, and tells running tasks.
        grace: seconds that running tasks get after a stop.
        under_way: tells how many tasks the executor has.
    """

    def __init__(
        self,
        executor: Executor,
        grace: float,
        under_way: Callable[[], int],
    ) -> None:
        self._executor = executor
        self._grace = grace
        self._under_way = under_way
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._asked = False
        #: Somebody wants it to end at once, and doesn't wait for what can be done later.
        self.impatient = False
        self.state = State.RUNNING
        self.reason = StopReason.DONE
        self.failure: Exception | None = None
        #: No further task may start. No threading.Event: a signal handler that interrupts
        #: another one within ``set()`` would wait for ever.
        self.draining = False

    def post(self, message: Message) -> None:
        """Ask for a change."""
        if isinstance(message, Stop) or (isinstance(message, Notice) and message.final):
            # At once, not when the supervisor comes to it: no task starts after this.
            self.draining = True
        self._inbox.put(message)

    def next(self, timeout: float) -> Message | None:
        """Return the next message; None if none came within *timeout* seconds, or before that.

        Python tends to a signal when its main thread does something. One that comes in the wake
        of another may be given to a thread that sleeps, so nobody may sleep for long here.
        """
        try:
            return next_of(self._inbox, min(timeout, LONGEST_SLEEP))
        except queue.Empty:
            return None

    def stop(self, message: Stop) -> None:
        """Drain; the second time, or at once if so asked, kill."""
        # What nobody asked for is no reason to hurry when somebody does.
        again = self._asked
        self._asked = again or message.reason is not StopReason.TOO_MANY_FAILURES
        self._because(message.reason)
        self.draining = True
        if again or message.now:
            self.impatient = True
            self._kill("killed on request" if message.now else "stopped for the second time")
        else:
            self._drain(self._grace, "the grace period was over")
            self._say_goodbye(message.reason)
        # Last: a task that ends when it sees it makes room that nobody shall fill.
        self._executor.request_shutdown()

    def _say_goodbye(self, reason: StopReason) -> None:
        running = min(self._under_way(), self._executor.slots)
        if not running:
            console.info("stopping: no task is running")
            return
        console.info(
            "stopping: %s may finish within %g s (%s kills %s now)",
            "1 running task" if running == 1 else f"{running} running tasks",
            self._grace,
            "Ctrl-C again" if reason is StopReason.SIGINT else "asking again",
            "it" if running == 1 else "them",
        )

    def notice(self, notice: Notice) -> None:
        """Drain for the provider; kill when it said so, or never."""
        if not notice.final:
            logger.warning("this machine may be taken away soon (%s): work goes on", notice.kind)
            return
        self._because(StopReason.SPOT)
        self.draining = True
        after = math.inf if notice.kill_after is None else notice.kill_after
        logger.warning("this machine will be taken away (%s): no new task starts", notice.kind)
        self._drain(after, f"the machine is taken away ({notice.kind})")
        self._executor.announce_termination()

    def fail(self, failure: Failure) -> None:
        """End for a trouble of ours; what runs may finish unless *now*."""
        if self.failure is None:
            self.failure = failure.error
        self._because(StopReason.FAILED)
        if isinstance(failure.error, SourceError):
            return  # what it gave before is good, and is run to the end
        self.draining = True
        if failure.now:
            self._kill("the worker failed")
        else:
            self._drain(math.inf, "the worker failed")

    def _because(self, reason: StopReason) -> None:
        if _WEIGHT[reason] > _WEIGHT[self.reason]:
            self.reason = reason

    def _drain(self, grace: float, reason: str) -> None:
        # Of several ends the executor takes the earliest.
        if self.state is State.RUNNING:
            self.state = State.DRAINING
        self._executor.shutdown(grace=grace, reason=reason, wait=False)

    def _kill(self, reason: str) -> None:
        if self.state is not State.KILLING:
            self.state = State.KILLING
            logger.warning("killing what still runs: %s", reason)
        self._executor.shutdown(reason=reason, wait=False, now=True)


# MERGED: Who obeys: takes what is posted to the lifecycle and sees that it is done.

#: Seconds in which the last events must be sent, and those for all that comes after it: when the
#: work is done, after a stop, and after a second one.
PATIENCE_AT_THE_END = (60.0, 15.0)
PATIENCE_IN_HASTE = (5.0, 4.5)
PATIENCE_OF_THE_KILLED = (1.0, 1.5)
#: Seconds between two tries to write events that a sink refused.
_RETRY_PERIOD = 0.5


class Supervisor:
    """Works in one thread from the first task to the last, and never blocks for long.

    Attributes:
        given_up: events can't be written, and nobody tries any more.
    """

    #: Why a sink refused events, lately.
    _refusal: Exception | None = None

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
        self.given_up = False

    def work(self) -> None:
        """Obey the inbox until nothing runs any more."""
        while True:
            failing = self._completer.failing_for
            message = self._lifecycle.next(math.inf if failing is None else _RETRY_PERIOD)
            if message is not None:
                self._obey(message)
            if failing is not None:
                self._retry_events(failing)
            # The dispatcher may be blocked in the source for ever: nobody waits for it then.
            if self._dispatcher.is_done():
                self._completer.flush()
                if self._completer.is_clean or self.given_up:
                    break
        while (message := self._lifecycle.next(0)) is not None:
            self._obey(message)

    def _obey(self, message: Message) -> None:
        if isinstance(message, Stop):
            self._lifecycle.stop(message)
        elif isinstance(message, Notice):
            self._lifecycle.notice(message)
        elif isinstance(message, Failure):
            self._lifecycle.fail(message)
        elif isinstance(message, Stuck):
            self._pause(message.error)
        if self._lifecycle.draining:
            self._source.drain(now=self._lifecycle.impatient)
            self._outbox.hurry()
        self._dispatcher.wake()

    def _pause(self, refusal: Exception) -> None:
        self._refusal = refusal
        # Other messages may have come first, and a retry with one of them: nobody would go on.
        if self._completer.failing_for is not None:
            logger.error("%s; no new task starts until it works again", refusal)
            self._dispatcher.pause("unwritten events", True)

    def see_off(self) -> None:
        """Send and settle what is left, then let the source give everything back.

        A provider may be away, so this goes on for a limited time only, a short one after a
        stop, and a very short one after another. What could not be told by then will come again.
        """
        if not self._outbox.needed:
            return
        ending = threading.Thread(target=self._end, name="cloud_tasks-ending", daemon=True)
        ending.start()
        patience: tuple[float, float] | None = None
        deadline = math.inf
        while ending.is_alive():
            now = self._clock.monotonic()
            if patience != self._patience():
                # Counted from now, for the source, whose turn comes last, shall have its time.
                patience = self._patience()
                deadline = min(deadline, now + sum(patience))
            if deadline <= now:
                logger.warning("the queue was not told of everything: some tasks will run again")
                break
            self._obey_at_end(deadline - now)
        while self._obey_at_end(0):
            pass

    def _obey_at_end(self, timeout: float) -> bool:
        """Obey the next message, if one comes in time."""
        message = self._lifecycle.next(timeout)
        if isinstance(message, Failure):
            message = Failure(message.error)  # nothing runs that could be killed
        if message is not None:
            self._obey(message)
        return message is not None

    def _end(self) -> None:
        try:
            self._outbox.finish(lambda: self._patience()[0])
        except EventLogError as error:
            self._lifecycle.post(Failure(error))
        finally:
            self._source.close()
            self._lifecycle.post(AllDone())

    def _patience(self) -> tuple[float, float]:
        """Return the seconds for the outbox, and those for the source."""
        if self._lifecycle.impatient:
            return PATIENCE_OF_THE_KILLED
        return PATIENCE_IN_HASTE if self._lifecycle.draining else PATIENCE_AT_THE_END

    def _retry_events(self, failing: float) -> None:
        if self._completer.retry():
            logger.warning("events are written again")
            self._dispatcher.pause("unwritten events", False)
        elif failing > PATIENCE and not self.given_up:
            self.given_up = True
            error = EventLogError(f"{self._refusal}; tried for {PATIENCE:g} s")
            logger.error("%s: giving up", error)
            self._obey(Failure(error, now=True))
