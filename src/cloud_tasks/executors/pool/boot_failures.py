"""Decide whether a pool goes on after a process could not be started, or died before it was ready.

::

    five times in a row the same end with the same words, and no process ever got ready
        ──► the program can't start: the pool is broken
    processes were killed or got ready before, the machine is short of something, the words differ
        ──► try again; broken after PATIENCE seconds in which no process was ready for tasks

Tasks that run go on meanwhile. A burst of failures counts once for the pause that follows.
"""

from __future__ import annotations

import logging
import math
import re
import signal
import time
from collections.abc import Callable

from cloud_tasks.system.shortage import PATIENCE, WARNING_PERIOD, tells_of_shortage

logger = logging.getLogger(__name__)

#: Number of equal failures after which the program is taken to be unable to start.
MAX_EQUAL_FAILURES = 5
#: Why a process that is forked fails if its zygote has died.
ZYGOTE_LOST = "its zygote was lost"
#: Seconds until the next try; doubles up to the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
#: Exit codes of processes that something else has ended: the kernel for want of memory, a person.
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)
#: Numbers and addresses differ between failures that are the same.
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+")


class BootFailures:
    """The failures since a process was last ready; *clock* is monotonic.

    Attributes:
        retry_at: no process should be started before this moment, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.retry_at = 0.0
        self._ever_ready = False
        self._equal = 0
        self._last = ""
        self._since = math.inf
        self._pause = _FIRST_PAUSE
        self._warn_at = 0.0

    def on_ready(self) -> None:
        """Record that a process has got ready."""
        self._ever_ready = True
        self._equal = 0
        self._last = ""
        self._since = math.inf
        self._pause = _FIRST_PAUSE

    def record(self, reason: str, code: int | None, *, working: bool) -> str | None:
        """Record a failure and move ``retry_at``; return why the pool is broken, if it is.

        Args:
            reason: of the failure; its last line tells of the cause.
            code: exit code of the process; None: unknown, or there was none.
            working: other processes are ready for tasks, or run them.
        """
        now = self._clock()
        last_line = reason.strip().rpartition("\n")[2]
        words = _NUMBER.sub("N", last_line)
        is_new = words != self._last
        if is_new or now >= self._warn_at:  # a like one is warned of once a minute
            self._warn_at = now + WARNING_PERIOD
            # The whole traceback once is enough.
            logger.warning("a child process did not get ready: %s", reason if is_new else last_line)
        passing = code in _KILLED or last_line == ZYGOTE_LOST or tells_of_shortage(last_line)
        self._equal = 0 if passing else 1 if is_new else self._equal + 1
        self._last = words
        if working:
            self._since = math.inf
        self._since = min(self._since, now)
        if now >= self.retry_at:
            self.retry_at = now + self._pause
            self._pause = min(_LONGEST_PAUSE, 2 * self._pause)
        if self._equal >= MAX_EQUAL_FAILURES and not self._ever_ready:
            return f"{self._equal} child processes in a row did not get ready: {last_line}"
        if now - self._since > PATIENCE:
            return f"no child process got ready for {now - self._since:.0f} s: {last_line}"
        return None
