"""Write task files and read event logs that fit into memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_tasks(path: Path, tasks: list[dict[str, Any]]) -> Path:
    """Write a JSON task file; return *path*."""
    path.write_text(json.dumps(tasks))
    return path


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log."""
    return [json.loads(line) for line in path.read_text().splitlines()]
