"""A notice that comes when it was ordered, to try a program's answer to it."""

from __future__ import annotations

import threading

from cloud_tasks.termination.base import Notice, TerminationProbe


class SimulatedProbe(TerminationProbe):
    """Gives its notice *after* seconds; the tasks are killed *delay* seconds later, or never."""

    def __init__(self, after: float, delay: float | None) -> None:
        self._after = after
        self._delay = delay

    def wait(self, stop: threading.Event) -> Notice | None:
        """Block until the time has come, or *stop* is set."""
        return None if stop.wait(self._after) else Notice("simulated", self._delay)
