"""What every probe for termination notices can do."""

from __future__ import annotations

import abc
import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """The provider's word that it will take this machine.

    Attributes:
        kind: in the provider's words.
        kill_after: seconds until the tasks that still run are killed; None: they are left alone.
        final: the machine will go. If not, it is only likelier to go than before: the run is
            told, and goes on.
    """

    kind: str
    kill_after: float | None
    final: bool = True


class TerminationProbe(abc.ABC):
    """Asks for a notice."""

    @abc.abstractmethod
    def wait(self, stop: threading.Event) -> Notice | None:
        """Block until there is a notice, or *stop* is set: then return None.

        After a notice that isn't final it is called again, and doesn't tell the same once more.
        """

    def instance_id(self) -> str | None:
        """Return the provider's name for this machine; None where it can't be had. May block."""
        return None
