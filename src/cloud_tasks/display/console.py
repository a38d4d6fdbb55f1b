"""Talking to the person at the console, by way of logging, from a thread of its own.

A console that takes no output, such as a pipe that nobody reads, must not hold up the run: what
can't be said in time is left out and counted.
"""

from __future__ import annotations

import logging
import queue
import threading
import time

from cloud_tasks.clock import next_of
from cloud_tasks.display.lines import outcome_line, progress_line
from cloud_tasks.display.text import plural
from cloud_tasks.outcome import Completed, Outcome
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.task import Delivery

logger = logging.getLogger("cloud_tasks.console")

#: The line begins with the time of day.
_TIMED = {"timed": True}
#: Seconds between two progress lines.
PERIOD = 30.0
#: Outcomes that wait to be shown, at most.
BACKLOG = 10_000


class Console:
    """Shows outcomes as they come, and a progress line now and then."""

    def __init__(self, stats: Stats, *, period: float = PERIOD) -> None:
        self._stats = stats
        self._period = period
        self._queue: queue.SimpleQueue[tuple[Delivery, Outcome] | None] = queue.SimpleQueue()
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="cloud_tasks-console", daemon=True)

    def start(self) -> None:
        """Begin to talk."""
        self._thread.start()

    def hear(self, delivery: Delivery, outcome: Outcome) -> None:
        """Take an outcome to be shown; never blocks."""
        if self._queue.qsize() < BACKLOG:
            self._queue.put((delivery, outcome))
        else:
            self._left_out += 1

    def stop(self) -> None:
        """Say what is left to be said, if the console takes it."""
        self._queue.put(None)
        self._thread.join(5)

    def _run(self) -> None:
        due = time.monotonic() + self._period
        while True:
            try:
                heard = next_of(self._queue, due - time.monotonic())
            except queue.Empty:
                logger.info(progress_line(self._stats.snapshot()), extra=_TIMED)
                due += self._period
                continue
            if heard is None:
                break
            self._show(*heard)
        if self._left_out:
            logger.warning("%s not shown here", plural(self._left_out, "further outcome"))

    def _show(self, delivery: Delivery, outcome: Outcome) -> None:
        done = isinstance(outcome, Completed) and not outcome.retry
        level = logging.DEBUG if done else logging.WARNING
        logger.log(level, "%s", outcome_line(delivery, outcome), extra=_TIMED)
