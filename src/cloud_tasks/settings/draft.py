"""Settings in the making."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

#: Who gave a value. ``program``: ``set_defaults`` of the program's parser, or a keyword.
Origin = Literal["command line", "environment", "program", "default", "derived"]


@dataclass(slots=True)
class Draft:
    """What is known so far of the settings of one worker.

    Attributes:
        values: by name of the setting.
        origins: who gave each value, also one that turned out to be wrong.
        problems: sentences that will end the program.
        warnings: sentences to log.
        from_queue: tasks come from the provider's queue.
    """

    values: dict[str, Any]
    origins: dict[str, Origin]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    from_queue: bool = False

    def given(self, name: str) -> bool:
        """Tell whether anybody said something about *name*, right or wrong."""
        return self.origins[name] not in ("default", "derived")

    def derive(self, name: str, value: Any) -> None:
        """Set what follows from other settings."""
        self.values[name] = value
        self.origins[name] = "derived"
