"""Read the starts and ends of workers that a run directory records (``runs.jsonl``).

They tell the report how long and how costly a run was, and other commands from which task file
its tasks came and to which event log they went. The file may have been written by several
versions, and torn by a crash: a line or value that can't be read is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cloud_tasks.masking import masked_value, masked_words
from cloud_tasks.timestamps import plausible_timestamp

#: Starts that are kept of a file: the first and the last ones, half of them each.
_KEPT = 100
#: Origins of a setting that the user did not choose.
_NOT_CHOSEN = ("default", "derived")


@dataclass(slots=True)
class Start:
    """One start of a worker, and its end where there was one.

    Attributes:
        details: as recorded at the start: ``command``, ``cwd``, ``function``, ``host``,
            ``versions``, ``settings``, ``executor``, ``slots``; each may be missing.
        started, ended: seconds since the epoch; None: not recorded.
        summary: of the run; empty: it has not ended, or its end was not recorded.
    """

    details: Mapping[str, Any]
    started: float | None
    ended: float | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> list[str]:
        """The command line without secrets; empty where that is not recorded."""
        words = self.details.get("command")
        # Earlier versions recorded it as it was.
        return masked_words([str(word) for word in words]) if isinstance(words, list) else []

    @property
    def cwd(self) -> str | None:
        """The folder in which it was started."""
        return _text(self.details.get("cwd"))

    @property
    def task_format(self) -> str | None:
        """The format of its task file, as it was given."""
        return _text(self.setting("task_format").get("value"))

    @property
    def settings(self) -> list[dict[str, str]]:
        """Name, value without secrets, and origin of each setting, as text."""
        rows = [
            {key: _shown(row.get(key)) for key in ("name", "value", "origin")}
            for row in self._setting_rows()
        ]
        return [{**row, "value": masked_value(row["name"], row["value"])} for row in rows]

    def setting(self, name: str) -> Mapping[str, Any]:
        """Return ``value`` and ``origin`` of the setting *name*, as recorded; else nothing."""
        return next((row for row in self._setting_rows() if row.get("name") == name), {})

    def _setting_rows(self) -> list[dict[str, Any]]:
        rows = self.details.get("settings")
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    @property
    def price_per_hour(self) -> float | None:
        """US dollars an hour for its machine, where that was given."""
        try:
            amount = float(self.setting("price_per_hour").get("value"))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
        return amount if 0 <= amount < 1e6 else None


def read_starts(path: Path) -> list[Start]:
    """Return the starts in the file at *path*, the first one first; none if it can't be read.

    Blocks while it reads.
    """
    starts: list[Start] = []
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                _add_line(line, starts)
                if len(starts) > _KEPT:
                    del starts[_KEPT // 2]
    except OSError:
        return []
    return starts


def _add_line(line: str, starts: list[Start]) -> None:
    """Add the start of *line* to *starts*, or its end to the last of them."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return
    if not isinstance(record, dict):
        return
    if record.get("event") == "start":
        starts.append(Start(record, plausible_timestamp(record.get("started"))))
    elif record.get("event") == "end" and starts:
        starts[-1].ended = plausible_timestamp(record.get("ended"))
        summary = record.get("summary")
        starts[-1].summary = summary if isinstance(summary, dict) else {}


def chosen_log(runs: Path) -> Path | None:
    """Return the event log outside of the run directory that its last start wrote to.

    None: it wrote to the one inside, or the log that the file *runs* names does not exist.
    """
    for start in read_starts(runs)[-1:]:
        row = start.setting("event_log_file")
        name = _text(row.get("value"))
        if name is not None and row.get("origin") not in _NOT_CHOSEN:
            log = Path(start.cwd or "", name)
            return log if log.is_file() else None
    return None


def starts_with_files(runs: Path) -> list[tuple[str, Start]]:
    """Return the starts in the file *runs* that had a task file, the last one first.

    Each comes with the name of its task file, as seen from any folder.
    """
    return [
        (name if "://" in name else str(Path(start.cwd or "", name)), start)
        for start in reversed(read_starts(runs))
        if (name := _text(start.setting("task_file").get("value"))) is not None and name != "-"
    ]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
