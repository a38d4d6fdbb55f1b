"""Show the outcomes and the progress of a run to a person, from a thread of its own.

    on_outcome ──► queue ──► console thread ─┬─► log lines: each failure, progress now and then
    (any thread, never blocks)               └─► screen: drawn progress, above it what tasks print
                                                 and the first failure of each cause

A console that takes no output, such as a pipe without a reader, must not hold up the run: beyond
a backlog outcomes are left out and counted, and ``stop`` waits only while the console takes some.
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
from cloud_tasks.display.crash_report import explanation, is_explained
from cloud_tasks.display.messages import outcome_line, progress_line
from cloud_tasks.display.progress import RateEstimator
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.events.causes import cause_of
from cloud_tasks.outcome import Completed, Outcome
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.system.shortage import start_thread
from cloud_tasks.task import Delivery
from cloud_tasks.text import plural, safe

if TYPE_CHECKING:
    from cloud_tasks.display.screen import Screen

logger = logging.getLogger("cloud_tasks.console")

#: For the log formatter: the line begins with the time of day.
_TIMED = {"timed": True}
#: Seconds between two progress lines.
PERIOD = 30.0
#: Seconds between two checks whether a progress line is due.
CHECK_PERIOD = 1.0
#: Factor by which the checks become rarer while no task ends.
_MAX_SLOWDOWN = 4
#: Outcomes that wait to be shown, at most.
BACKLOG = 10_000
#: Seconds for which ``stop`` waits for a console that takes nothing,
_PATIENCE = 5.0
#: in this many parts: while the whole machine stands still, only one of them passes.
_PARTS = 50
#: Seconds between two reads of captured output, once drawing has failed.
_PASS_ON = 0.05
#: Causes of failure that are shown one by one on a screen; more would not be read.
MAX_CAUSES = 100


class Console:
    """The console of one run.

    Args:
        stats: the counts.
        info: what else is known of the run.
        drawn: draw the progress at the bottom of the terminal.
        lines: where it is not drawn, log a line about it now and then.
        verbose: where it is drawn, show every outcome, not only new causes of failure.
        period: seconds between two such lines, unless a tenth of the work was done before.
        check_period: seconds between two checks whether a line is due.
    """

    def __init__(
        self,
        stats: Stats,
        info: RunInfo | None = None,
        *,
        drawn: bool = False,
        lines: bool = True,
        verbose: bool = False,
        period: float = PERIOD,
        check_period: float = CHECK_PERIOD,
    ) -> None:
        self._stats = stats
        self._info = info or RunInfo()
        self._reporter = FailureReporter(self._info, stats)
        self._screen: Screen | None = None
        if drawn:
            from cloud_tasks.display.screen import Screen  # only a terminal needs it

            self._screen = Screen()
        self._lines = lines
        self._verbose = verbose
        self._timer = ProgressTimer(stats, self._info, period, min(check_period, period))
        self._queue: queue.SimpleQueue[tuple[Delivery, Outcome] | None] = queue.SimpleQueue()
        self._left_out = 0
        self._logged = 0
        self._over = threading.Event()
        self._owner = 0
        self._thread = threading.Thread(target=self._run, name="cloud_tasks-console", daemon=True)

    def start(self) -> None:
        """Start the thread; takes over the terminal, if the progress is drawn."""
        self._owner = os.getpid()
        atexit.register(self.stop)
        if self._screen is not None:
            try:
                self._screen.open()
            except OSError as error:
                self._screen = None
                logger.warning("the progress can't be drawn: %s", error)
        start_thread(self._thread)

    def on_outcome(self, delivery: Delivery, outcome: Outcome) -> None:
        """Queue an outcome to be shown; any thread, never blocks."""
        if self._queue.qsize() < BACKLOG:
            self._queue.put((delivery, outcome))
        else:
            self._left_out += 1

    def stop(self) -> None:
        """Show the rest, if the console takes it, and leave the terminal as it was.

        May be called more than once, and without a start.
        """
        atexit.unregister(self.stop)
        if self._owner != os.getpid():
            return  # never started, or a copy that a task has forked
        if self._screen is not None and not self._over.is_set():
            flush_streams()  # while our thread still reads the pipe
        self._over.set()
        self._queue.put(None)
        self._wait()
        if self._screen is not None:
            self._screen.give_back()

    def _wait(self) -> None:
        """Wait for the thread, as long as the console takes something: slow is not stuck."""
        left, before = _PARTS, self._taken
        while left and self._thread.ident is not None and self._thread.is_alive():
            self._thread.join(_PATIENCE / _PARTS)
            taken = self._taken
            left, before = left - 1 if taken == before else _PARTS, taken

    @property
    def _taken(self) -> int:
        return self._logged if self._screen is None else self._screen.taken

    def _run(self) -> None:
        if self._screen is not None:
            self._draw(self._screen)
            return
        try:
            self._log()
        except BaseException:
            logger.exception("outcomes can't be shown any more: the run goes on, and records them")

    # -- by way of logging

    def _log(self) -> None:
        timer = self._timer
        while True:
            try:
                item = next_of(self._queue, timer.pause if self._lines else None)
            except queue.Empty:
                pass
            else:
                if item is None:
                    break
                self._log_outcome(*item)
            if self._lines and (line := timer.line()) is not None:
                logger.info(line, extra=_TIMED)
        if self._left_out:
            logger.warning("%s not shown here", plural(self._left_out, "further outcome"))

    def _log_outcome(self, delivery: Delivery, outcome: Outcome) -> None:
        done = isinstance(outcome, Completed) and not outcome.retry
        level = logging.DEBUG if done else logging.WARNING
        lines = self._reporter.lines(delivery, outcome)
        logger.log(level, "%s", "\n".join(lines), extra=_TIMED)
        self._logged += 1

    # -- on a terminal. Nothing may be logged here: it would go into the pipe that this thread reads

    def _draw(self, screen: Screen) -> None:
        try:
            from cloud_tasks.display.screen import Drawing

            drawing = Drawing(screen, self._stats, self._info)
            while not self._over.wait(drawing.pause):
                self._show_outcomes(screen)
                drawing.turn()
            self._show_outcomes(screen)
        except BaseException:
            screen.give_back()
            logger.exception("the progress can't be drawn any more")
            screen.draw_no_more()
            while not self._over.wait(_PASS_ON):
                screen.collect()
                screen.draw(None)
        finally:
            screen.close()

    def _show_outcomes(self, screen: Screen) -> None:
        for _ in range(self._queue.qsize()):
            item = self._queue.get()
            if item is None:
                continue
            if self._verbose:
                clock = time.strftime("%H:%M:%S")
                screen.print([f"{clock} {line}" for line in self._reporter.lines(*item)])
            else:
                screen.print(self._reporter.lines_if_new(*item))


class ProgressTimer:
    """Decides when a line about the progress is due, and makes it.

    It is due at each tenth of the work, where the total is known, and after *period* seconds
    without a line. Counts are read every *check_period* seconds, or less often while no task ends.
    """

    def __init__(self, stats: Stats, info: RunInfo, period: float, check_period: float) -> None:
        self._stats = stats
        self._info = info
        self._period = period
        self._check_period = self._interval = check_period
        self._next_check = time.monotonic() + check_period
        self._ended = 0
        self._due = time.monotonic() + period
        self._tenths = 0
        self._estimator = RateEstimator()

    @property
    def pause(self) -> float:
        """Seconds until the next check."""
        return max(0.0, self._next_check - time.monotonic())

    def line(self) -> str | None:
        """Return a line if one is due."""
        at = time.monotonic()
        if at < self._next_check:
            return None
        now = self._stats.snapshot()
        quiet, self._ended = now.ended == self._ended, now.ended
        longest = self._check_period * _MAX_SLOWDOWN
        self._interval = min(2 * self._interval, longest) if quiet else self._check_period
        self._next_check = at + self._interval
        self._estimator.add(now.elapsed, now.ended)
        tenths = 10 * now.ended // now.total if now.total else 0
        if at < self._due and tenths <= self._tenths:
            return None
        self._due, self._tenths = at + self._period, tenths
        slots = self._info.slots()
        left = self._estimator.left(now, slots, self._info.running())
        return progress_line(now, self._estimator.rate(slots), left)


class FailureReporter:
    """Formats outcomes: at length the first time that a cause comes, briefly when it returns."""

    def __init__(self, info: RunInfo, stats: Stats) -> None:
        self._info = info
        self._stats = stats
        self._reported: set[str] = set()

    def lines(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        """Return one line for any outcome, and more for a new cause of a crash."""
        lines = [outcome_line(delivery, outcome)]
        if is_explained(outcome) and self._is_new(outcome):
            lines += self._explanation(delivery, outcome)
        return lines

    def lines_if_new(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        """Return lines if the outcome has a new cause of failure, else none."""
        done = isinstance(outcome, Completed) and not outcome.retry
        if done or not self._is_new(outcome):
            return []
        lines = [f" x {outcome_line(delivery, outcome)}"]
        if is_explained(outcome):
            lines += [f" {line}" for line in self._explanation(delivery, outcome)]
        elif (command := self._info.logs_command(delivery.task.task_id)) is not None:
            lines.append(f"   see: {safe(command, 1000)}")
        if len(self._reported) >= MAX_CAUSES:
            lines.append(" x further causes of failure are listed at the end")
        return lines

    def _explanation(self, delivery: Delivery, outcome: Outcome) -> list[str]:
        others = min(self._stats.running, self._info.slots() - 1)
        return explanation(delivery.task.task_id, outcome, self._info, others)

    def _is_new(self, outcome: Outcome) -> bool:
        cause = cause_of(outcome)
        if cause in self._reported or len(self._reported) >= MAX_CAUSES:
            return False
        self._reported.add(cause)
        return True
