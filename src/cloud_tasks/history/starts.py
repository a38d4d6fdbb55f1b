"""Where the tasks of a run came from, as its run directory tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_tasks.timestamps import PlausibleTimestamps


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


# MERGED: The starts and ends of the workers of a run, as its directory tells them.

#: Starts that are kept: the first ones and the last ones, half of them each.
_KEPT = 100


@dataclass(slots=True)
class Start:
    """One start of a worker, and its end where there was one.

    Attributes:
        told: what was recorded at the start: ``command``, ``cwd``, ``function``, ``host``,
            ``versions``, ``settings``, ``executor``, ``slots``; each may be missing.
        started, ended: seconds since the epoch; None: not recorded.
        summary: what it came to; empty: it has not ended, or could not tell any more.
    """

    told: Mapping[str, Any]
    started: float | None
    ended: float | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """Its command line; empty where that is not recorded."""
        words = self.told.get("command")
        return [str(word) for word in words] if isinstance(words, list) else []

    @property
    def settings(self) -> list[dict[str, str]]:
        """Name, value and origin of each setting, as text."""
        rows = self.told.get("settings")
        return [
            {key: _shown(row.get(key)) for key in ("name", "value", "origin")}
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict)
        ]

    @property
    def price_per_hour(self) -> float | None:
        """US dollars an hour for its machine, where that was given."""
        for row in self.settings:
            if row["name"] == "price_per_hour":
                return _amount(row["value"])
        return None


def read_starts(path: Path) -> list[Start]:
    """Return the starts in the file at *path*, the first one first; lines of no sense are left out.

    Blocks while it reads. A file that can't be read has none.
    """
    timestamps = PlausibleTimestamps()
    starts: list[Start] = []
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                _take(line, starts, timestamps)
                if len(starts) > _KEPT:
                    del starts[_KEPT // 2]
    except OSError:
        return []
    return starts


def _take(line: str, starts: list[Start], timestamps: PlausibleTimestamps) -> None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return
    if not isinstance(record, dict):
        return
    if record.get("event") == "start":
        starts.append(Start(record, timestamps.parse(record.get("started"))))
    elif record.get("event") == "end" and starts:
        starts[-1].ended = timestamps.parse(record.get("ended"))
        summary = record.get("summary")
        starts[-1].summary = summary if isinstance(summary, dict) else {}


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _amount(text: str) -> float | None:
    try:
        amount = float(text)
    except ValueError:
        return None
    return amount if 0 <= amount < 1e6 else None
