"""Who obeys: takes what is posted to the lifecycle and sees that it is done."""

from __future__ import annotations

import logging
import math
import threading

from cloud_tasks.clock import Clock
from cloud_tasks.errors import EventLogError
from cloud_tasks.runtime.completer import PATIENCE, Completer
from cloud_tasks.runtime.dispatcher import Dispatcher
from cloud_tasks.runtime.lifecycle import AllDone, Failure, Lifecycle, Message, Stop, Stuck
from cloud_tasks.runtime.outbox import Outbox
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.termination.base import Notice

logger = logging.getLogger(__name__)

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
