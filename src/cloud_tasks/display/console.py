"""Talking to the person at the console, from a thread of its own.

Either by way of logging: a line for each task that is not done, and one for the progress now and
then. Or on a terminal: the progress is drawn, and above it stands what tasks print, and the first
failure of each kind. A console that takes no output, such as a pipe that nobody reads, must not
hold up the run: what can't be said in time is left out and counted.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING

from cloud_tasks.clock import next_of
from cloud_tasks.display.capture import flush_streams
from cloud_tasks.display.messages import progress_line
from cloud_tasks.display.progress import RateEstimator
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.outcome import Completed, Outcome
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.task import Delivery
from cloud_tasks.text import plural

if TYPE_CHECKING:
    from cloud_tasks.display.screen import Screen
from cloud_tasks.display.crash_report import explanation, is_explained
from cloud_tasks.display.messages import outcome_line
from cloud_tasks.events.causes import cause_of
from cloud_tasks.text import safe

logger = logging.getLogger("cloud_tasks.console")

#: The line begins with the time of day.
_TIMED = {"timed": True}
#: Seconds between two progress lines.
PERIOD = 30.0
#: Seconds between two looks at the progress.
GLANCE = 1.0
#: So many times as long it may become while no task ends.
_LONGEST_GLANCE = 4
#: Outcomes that wait to be shown, at most.
BACKLOG = 10_000
#: Seconds that a console may take nothing before we go on without it.
_PATIENCE = 5.0
#: They are waited for in so many parts: if the whole machine stands still, it is one of them.
_PARTS = 50
#: Seconds between two looks at what was printed, where nothing can be drawn any more.
_PASS_ON = 0.05


class Console:
    """Shows outcomes as they come, and how the run stands.

    Args:
        stats: the counts.
        facts: what else is known of the run.
        drawn: draw the progress at the bottom of the terminal.
        lines: where it is not drawn, say a line about it now and then.
        verbose: where it is drawn, tell of every task.
        period: seconds between two such lines, where no tenth of the work was done meanwhile.
        glance: seconds between two looks whether it is time for one.
    """

    def __init__(
        self,
        stats: Stats,
        facts: RunInfo | None = None,
        *,
        drawn: bool = False,
        lines: bool = True,
        verbose: bool = False,
        period: float = PERIOD,
        glance: float = GLANCE,
    ) -> None:
        self._stats = stats
        self._facts = facts or RunInfo()
        self._teller = FailureReporter(self._facts, stats)
        self._screen = _make_screen() if drawn else None
        self._lines = lines
        self._verbose = verbose
        self._glances = Glances(stats, self._facts, period, min(glance, period))
        self._queue: queue.SimpleQueue[tuple[Delivery, Outcome] | None] = queue.SimpleQueue()
        self._left_out = 0
        self._said = 0
        self._over = threading.Event()
        self._owner = 0
        self._thread = threading.Thread(target=self._run, name="cloud_tasks-console", daemon=True)

    def start(self) -> None:
        """Begin to talk; takes the terminal, if the progress is drawn."""
        self._owner = os.getpid()
        atexit.register(self.stop)
        if self._screen is not None:
            try:
                self._screen.open()
            except OSError as error:
                self._screen = None
                logger.warning("the progress can't be drawn: %s", error)
        self._thread.start()

    def hear(self, delivery: Delivery, outcome: Outcome) -> None:
        """Take an outcome to be shown; never blocks."""
        if self._queue.qsize() < BACKLOG:
            self._queue.put((delivery, outcome))
        else:
            self._left_out += 1

    def stop(self) -> None:
        """Say what is left to be said, if the console takes it, and leave the terminal as it was.

        May be called more than once, and without a start.
        """
        atexit.unregister(self.stop)
        if self._owner != os.getpid():
            return  # never started, or a copy that a task has forked
        if self._screen is not None and not self._over.is_set():
            flush_streams()  # while somebody reads it
        self._over.set()
        self._queue.put(None)
        self._wait()
        if self._screen is not None:
            self._screen.give_back()

    def _wait(self) -> None:
        """Wait for the thread, as long as the console takes something."""
        left, before = _PARTS, self._taken
        while left and self._thread.ident is not None and self._thread.is_alive():
            self._thread.join(_PATIENCE / _PARTS)
            taken = self._taken
            left, before = left - 1 if taken == before else _PARTS, taken

    @property
    def _taken(self) -> int:
        """Counts what the console has taken: tells a slow one from one that is stuck."""
        return self._said if self._screen is None else self._screen.taken

    def _run(self) -> None:
        if self._screen is not None:
            self._draw(self._screen)
        else:
            self._talk()

    # -- by way of logging

    def _talk(self) -> None:
        glances = self._glances
        while True:
            try:
                heard = next_of(self._queue, glances.pause if self._lines else None)
            except queue.Empty:
                pass
            else:
                if heard is None:
                    break
                self._show(*heard)
            if self._lines and (line := glances.line()) is not None:
                logger.info(line, extra=_TIMED)
        if self._left_out:
            logger.warning("%s not shown here", plural(self._left_out, "further outcome"))

    def _show(self, delivery: Delivery, outcome: Outcome) -> None:
        done = isinstance(outcome, Completed) and not outcome.retry
        level = logging.DEBUG if done else logging.WARNING
        logger.log(level, "%s", "\n".join(self._teller.every(delivery, outcome)), extra=_TIMED)
        self._said += 1

    # -- on a terminal. Nothing may be logged here: it would go into the pipe that this thread reads

    def _draw(self, screen: Screen) -> None:
        try:
            from cloud_tasks.display.screen import Drawing

            drawing = Drawing(screen, self._stats, self._facts)
            while not self._over.wait(drawing.pause):
                self._hear_all(screen)
                drawing.turn()
            self._hear_all(screen)
        except Exception:
            screen.give_back()
            logger.exception("the progress can't be drawn any more")
            screen.draw_no_more()
            while not self._over.wait(_PASS_ON):
                screen.collect()
                screen.draw(None)
        finally:
            screen.close()

    def _hear_all(self, screen: Screen) -> None:
        for _ in range(self._queue.qsize()):
            heard = self._queue.get()
            if heard is not None:
                screen.say(self._told(*heard))

    def _told(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        if not self._verbose:
            return self._teller.new_ones(delivery, outcome)
        return [
            f"{time.strftime('%H:%M:%S')} {line}" for line in self._teller.every(delivery, outcome)
        ]


def _make_screen() -> Screen:
    # Only a terminal pays for it.
    from cloud_tasks.display.screen import Screen

    return Screen()


class Glances:
    """Finds when it is time for a line about the progress.

    That is at each tenth of the work, where its amount is known, and after *period* seconds
    without one.
    """

    def __init__(self, stats: Stats, facts: RunInfo, period: float, glance: float) -> None:
        self._stats = stats
        self._facts = facts
        self._period = period
        self._glance = self._interval = glance
        self._next = time.monotonic() + glance
        self._ended = 0
        self._due = time.monotonic() + period
        self._tenths = 0
        self._pace = RateEstimator()

    @property
    def pause(self) -> float:
        """Seconds until the next glance."""
        return max(0.0, self._next - time.monotonic())

    def line(self) -> str | None:
        """Return a line if it is time for one."""
        at = time.monotonic()
        if at < self._next:
            return None
        now = self._stats.snapshot()
        quiet, self._ended = now.ended == self._ended, now.ended
        longest = self._glance * _LONGEST_GLANCE
        self._interval = min(2 * self._interval, longest) if quiet else self._glance
        self._next = at + self._interval
        self._pace.note(now.elapsed, now.ended)
        tenths = 10 * now.ended // now.total if now.total else 0
        if at < self._due and tenths <= self._tenths:
            return None
        self._due, self._tenths = at + self._period, tenths
        slots = self._facts.slots()
        left = self._pace.left(now, slots, self._facts.running())
        return progress_line(now, self._pace.rate(slots), left)


# MERGED: What is said of a task that is not done: much the first time, little when it comes
# MERGED: again.

#: Further causes are not told of one by one: nobody would read them.
MOST_CAUSES = 100


class FailureReporter:
    """Makes the lines of an outcome, and knows which causes were told.

    Args:
        facts: what is known of the run.
        stats: tell how many tasks run.
    """

    def __init__(self, facts: RunInfo, stats: Stats) -> None:
        self._facts = facts
        self._stats = stats
        self._told: set[str] = set()

    def every(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        """Return one line for each outcome, and more for a new kind of crash."""
        lines = [outcome_line(delivery, outcome)]
        if is_explained(outcome) and self._is_new(outcome):
            lines += self._explanation(delivery, outcome)
        return lines

    def new_ones(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        """Return lines if the cause is new, else none."""
        if isinstance(outcome, Completed) and not outcome.retry:
            return []
        if not self._is_new(outcome):
            return []
        lines = [f" x {outcome_line(delivery, outcome)}"]
        if is_explained(outcome):
            lines += [f" {line}" for line in self._explanation(delivery, outcome)]
        elif (command := self._facts.see(delivery.task.task_id)) is not None:
            lines.append(f"   see: {safe(command, 1000)}")
        if len(self._told) >= MOST_CAUSES:
            lines.append(" x further causes of failure are told at the end")
        return lines

    def _explanation(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        others = min(self._stats.running, self._facts.slots() - 1)
        return explanation(delivery.task.task_id, outcome, self._facts, others)

    def _is_new(self, outcome: Outcome) -> bool:
        cause = cause_of(outcome)
        if cause in self._told or len(self._told) >= MOST_CAUSES:
            return False
        self._told.add(cause)
        return True
