"""Task files and event logs, small enough to be held in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_tasks(path: Path, tasks: list[dict[str, Any]]) -> Path:
    """Write a JSON task file; returns *path*."""
    path.write_text(json.dumps(tasks))
    return path


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log."""
    return [json.loads(line) for line in path.read_text().splitlines()]
