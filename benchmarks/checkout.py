"""The checkout that is measured, whatever else is installed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def interpreter() -> Path:
    """Return the Python that runs this, for all that is ours."""
    return Path(sys.executable)


def environment() -> dict[str, str]:
    """Return the variables of what a benchmark starts: it finds this checkout's modules first."""
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look every few milliseconds until *condition* holds.

    Raises:
        TimeoutError: it didn't within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {seconds:g} s")
        time.sleep(0.002)
