"""Name the files in which a slot keeps what its tasks print."""

from __future__ import annotations

import os


def paths(folder: str, slot: int) -> tuple[str, str]:
    """Return the names of the two files of *slot*: what was printed, and whose it is."""
    name = os.path.join(folder, f"slot-{slot:03d}")  # noqa: PTH118 - a fresh process pays for it
    return f"{name}.log", f"{name}.idx"
