"""Where the tasks of a run came from, as its run directory tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_tasks.history.tally_runs import read_starts


@dataclass(frozen=True, slots=True)
class Origin:
    """One start of a worker that read a task file.

    Attributes:
        task_file: its name, seen from anywhere.
        task_format: as it was given.
        command: the command line; empty: not told.
        cwd: the folder in which it was started.
    """

    task_file: str
    task_format: str | None
    command: tuple[str, ...]
    cwd: str | None


def origins(runs: Path) -> list[Origin]:
    """Return what the file *runs* tells of task files, the last start first."""
    found = (_origin(start.told, start.command) for start in reversed(read_starts(runs)))
    return [origin for origin in found if origin is not None]


def chosen_log(runs: Path) -> Path | None:
    """Return the event log outside of the run directory that its last start wrote to.

    None: it wrote to the one inside, or what the file *runs* tells of is not there.
    """
    for start in read_starts(runs)[-1:]:
        for row in start.settings:
            if row["name"] == "event_log_file" and row["origin"] not in ("default", "derived"):
                log = Path(_text(start.told.get("cwd")) or "", row["value"])
                return log if log.is_file() else None
    return None


def _origin(told: Mapping[str, Any], command: list[str]) -> Origin | None:
    settings = _settings(told.get("settings"))
    name, cwd = _text(settings.get("task_file")), _text(told.get("cwd"))
    if name is None or name == "-":
        return None
    if "://" not in name:
        name = str(Path(cwd or "", name))
    return Origin(name, _text(settings.get("task_format")), tuple(command), cwd)


def _settings(rows: object) -> Mapping[str, Any]:
    if not isinstance(rows, list):
        return {}
    return {
        row["name"]: row.get("value")
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("name"), str)
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
