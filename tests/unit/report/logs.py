"""Event logs made by hand: ours, those of the older system, and bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cloud_tasks.events.reading import EventReader
from cloud_tasks.history.layout import RunDir, find_run
from cloud_tasks.history.starts import read_starts
from cloud_tasks.report.document import document
from cloud_tasks.report.tally.tally import Tally
from cloud_tasks.timestamps import timestamp

#: 2026-11-21T19:00:00 UTC.
BEGAN = 1_795_287_600.0
HOSTILE = "</script><img src=x onerror=alert(1)>\n\x1b[31m\"'&"


def ours(end: float, seconds: float, kind: str = "task_completed", **more: Any) -> dict[str, Any]:
    """Make an event of ours: a try that ended so many seconds after the beginning of all."""
    return {
        "timestamp": timestamp(BEGAN + end + 0.001),
        "hostname": "a",
        "event_type": kind,
        "task_id": f"t-{end:g}",
        "elapsed_time": seconds + 0.002,
        "retry": False,
        "event_id": f"run-{end:g}",
        "slot": 0,
        "started": timestamp(BEGAN + end - seconds),
        "run_time": seconds,
        **more,
    }


def old(end: float, seconds: float, kind: str = "task_completed", **more: Any) -> dict[str, Any]:
    """Make an event as the older system writes it."""
    return {
        "timestamp": timestamp(BEGAN + end),
        "hostname": "a",
        "event_type": kind,
        "task_id": f"t-{end:g}",
        "retry": False,
        "elapsed_time": seconds,
        **more,
    }


def raised(message: str) -> str:
    """Make the text of a traceback of user code."""
    return (
        "Traceback (most recent call last):\n"
        '  File "/home/user/pipeline.py", line 12, in process_task\n'
        f"    raise ValueError\nValueError: {message}\n"
    )


def tallied(*events: dict[str, Any], **keywords: Any) -> Tally:
    """Count *events*."""
    return Tally(**keywords).read(events)


def write(path: Path, *events: dict[str, Any] | bytes) -> Path:
    """Write a log of *events*; bytes are written as they are."""
    with path.open("wb") as file:
        for event in events:
            file.write(event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n")
    return path


def documented(path: Path, **keywords: Any) -> dict[str, Any]:
    """Return the document of the run at *path*."""
    run_files = find_run(str(path))
    reader = EventReader(run_files.events)
    tally = Tally(**keywords).read(reader)
    starts = [] if run_files.directory is None else read_starts(run_files.directory.runs)
    return document(run_files, tally, reader, starts)


def run_dir(path: Path, *events: dict[str, Any] | bytes, starts: list[Any]) -> Path:
    """Make a run directory."""
    path.mkdir()
    write(RunDir(path).events, *events)
    write(RunDir(path).runs, *starts)
    return path
