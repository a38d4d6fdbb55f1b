"""Find the modules and the interpreter of this checkout, even if another copy is installed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def interpreter() -> Path:
    """Return the interpreter that runs this process."""
    return Path(sys.executable)


def environment() -> dict[str, str]:
    """Return environment variables that put the modules of this checkout first."""
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Poll every few milliseconds until *condition* holds.

    Raises:
        TimeoutError: it did not hold within the time limit.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {seconds:g} s")
        time.sleep(0.002)
