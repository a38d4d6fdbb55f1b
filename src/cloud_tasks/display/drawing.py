"""Putting together what stands on the screen, turn by turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cloud_tasks.display.eta import Pace
from cloud_tasks.display.facts import Facts
from cloud_tasks.display.progress import Line, Picture, area
from cloud_tasks.display.screen import Screen
from cloud_tasks.runtime.stats import Stats

if TYPE_CHECKING:
    from cloud_tasks.system.machine import MachineWatch

#: Seconds between two redraws. Each turn of this thread takes the interpreter's lock from those
#: that do the work, so there are no more turns than redraws,
_REDRAW = 0.25
#: unless so many bytes come between two of them that the pipe might get full: then so soon again.
_FLOOD, _SOON = 16 * 1024, 0.02
#: Seconds between two looks at the machine: shorter ones say little.
_LOOK = 1.0


class Drawing:
    """Draws the progress of a run on *screen*. Everything belongs to the thread that draws.

    Args:
        screen: shows it.
        stats: the counts.
        facts: what else is known.
    """

    def __init__(self, screen: Screen, stats: Stats, facts: Facts) -> None:
        self._screen = screen
        self._stats = stats
        self._facts = facts
        self._pace = Pace()
        self._due = time.monotonic() + _REDRAW
        self._watch = _machine_watch()
        self._machine = self._watch.look()
        self._look_due = 0.0
        self._flood = False

    @property
    def pause(self) -> float:
        """Seconds until the next turn."""
        left = max(0.0, self._due - time.monotonic())
        return min(left, _SOON) if self._flood else left

    def turn(self) -> None:
        """Take in what was printed, and show it when it is time."""
        self._flood = self._screen.collect() >= _FLOOD
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _REDRAW
            self._screen.draw(self._area(now))
        elif self._screen.is_full:
            self._screen.draw(None)

    def _area(self, now: float) -> list[Line]:
        if now >= self._look_due:
            self._look_due = now + _LOOK
            self._machine = self._watch.look()
        snapshot, slots, running = (
            self._stats.snapshot(),
            self._facts.slots(),
            self._facts.running(),
        )
        self._pace.note(snapshot.elapsed, snapshot.ended)
        left = self._pace.left(snapshot, slots, running)
        picture = Picture(
            name=self._facts.name,
            now=snapshot,
            slots=slots,
            rate=self._pace.rate(slots),
            left=left,
            ends=None if left is None else time.time() + left,
            max_runtime=self._facts.max_runtime,
            running=running,
            machine=self._machine,
        )
        return area(picture, self._screen.width, unicode=self._screen.speaks_unicode)


def _machine_watch() -> MachineWatch:
    from cloud_tasks.system.machine import MachineWatch

    return MachineWatch()
