"""When a run will be over, from how fast its tasks end now."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from cloud_tasks.executors.base import Running
from cloud_tasks.runtime.stats import Snapshot

#: Seconds that the rate looks back.
WINDOW = 60.0
#: Seconds at the start in which nothing can be said: processes boot, caches fill.
_WARM_UP = 5.0
#: Seconds between two samples that are kept.
_STEP = 0.5


class Pace:
    """Tells the rate of the last minute, and the time that is left.

    It is told now and then how many tasks have ended.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._now = (0.0, 0)

    def note(self, elapsed: float, ended: int) -> None:
        """Take in that *ended* tasks had ended after *elapsed* seconds of the run."""
        self._now = (elapsed, ended)
        if elapsed - self._samples[-1][0] >= _STEP:
            self._samples.append(self._now)
        # The newest sample that is old enough stays: the window begins there.
        while len(self._samples) > 1 and self._samples[1][0] <= elapsed - WINDOW:
            self._samples.popleft()

    def rate(self, slots: int = 1) -> float:
        """Return tasks a second: of the last minute, or of the whole run where that says more.

        Where fewer than two tasks a slot ended within the minute, it may just have been a quiet
        one: tasks that start together also end together.
        """
        elapsed, ended = self._now
        began, before = self._samples[0]
        if ended - before < 2 * slots:
            began, before = 0.0, 0
        return (ended - before) / (elapsed - began) if elapsed > began else 0.0

    def left(self, now: Snapshot, slots: int, running: Sequence[Running] = ()) -> float | None:
        """Return the seconds that are left; None: it can't be said, or not yet.

        Args:
            now: how the run stands.
            slots: tasks at once.
            running: those that run now, as far as known.
        """
        if now.total is None or now.elapsed < _WARM_UP:
            return None
        rest = now.total - now.ended
        if rest <= 0:
            return 0.0
        if now.ended < max(1, min(2 * slots, now.total // 4)):
            return None
        if rest <= min(slots, len(running)):
            return _tail(now, running)
        rate = self.rate(slots)
        return rest / rate if rate > 0 else None


def _tail(now: Snapshot, running: Sequence[Running]) -> float | None:
    """Return the seconds until the last running task should be over.

    The run is as long as its slowest task from here on, however fast the others were.
    """
    usual, longest = now.run_time.get("p95"), now.run_time.get("max")
    if usual is None or longest is None:
        return None
    ages = [task.seconds for task in running]
    left = max(usual - age for age in ages)
    if left <= 0:
        left = max(longest - age for age in ages)
    return left if left > 0 else None
