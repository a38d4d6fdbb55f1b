"""Define the notice that this machine will be taken away, and what watches for it."""

from __future__ import annotations

import abc
import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """A termination notice of the provider.

    Attributes:
        kind: the reason, in the provider's words.
        kill_after: seconds until the tasks that still run are killed; None: they are not killed.
        final: the machine will be taken away. If False, that is only likelier than before: the
            run logs it and goes on.
    """

    kind: str
    kill_after: float | None
    final: bool = True


class TerminationProbe(abc.ABC):
    """Watches for a termination notice, in a thread of its own."""

    @abc.abstractmethod
    def wait(self, stop: threading.Event) -> Notice | None:
        """Block until there is a notice, or *stop* is set: then return None.

        After a notice that isn't final it is called again, and must not return the same notice.
        """

    def instance_id(self) -> str | None:
        """Return the provider's name for this machine; None: it is unknown. May block."""
        return None


class SimulatedProbe(TerminationProbe):
    """Simulate a notice, to try out how a program reacts.

    Args:
        after: seconds until the notice.
        delay: seconds from the notice until the tasks are killed; None: they are not killed.
    """

    def __init__(self, after: float, delay: float | None) -> None:
        self._after = after
        self._delay = delay

    def wait(self, stop: threading.Event) -> Notice | None:
        """Block until the time has come, or *stop* is set."""
        return None if stop.wait(self._after) else Notice("simulated", self._delay)
