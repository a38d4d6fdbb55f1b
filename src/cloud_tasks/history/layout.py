"""Name and find the files of a run: in a run directory, or around a bare event log.

::

    DIR/
      events.jsonl     one line for each end of a task
      runs.jsonl       one line a start, one line an end: command, settings, versions, summary
      failures.jsonl   the tasks that failed, with their data: a task file
      logs/            one file a slot with the output of its tasks, with --task-logs
      report.html      made by `cloud_tasks report DIR`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloud_tasks.errors import HistoryError


class RunDir:
    """Paths of the files in a run directory, as drawn above; none of them needs to exist."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.events = Path(path) / "events.jsonl"
        self.runs = Path(path) / "runs.jsonl"
        self.failures = Path(path) / "failures.jsonl"
        self.logs = Path(path) / "logs"
        self.report = Path(path) / "report.html"


def logs_beside(event_log: str | Path) -> Path:
    """Return the folder of task logs for a run without a directory of its own."""
    return Path(event_log).with_suffix(".logs")


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of a run that a user names on the command line.

    Attributes:
        name: as the user gave it.
        logs: the folder of task logs; it may be missing.
        directory: None: the user named an event log.
    """

    name: str
    events: Path
    logs: Path
    directory: RunDir | None = None


def find_run(name: str) -> RunFiles:
    """Return the files of the run *name*: a run directory, or an event log of ours or of another.

    Raises:
        HistoryError: there is nothing like that.
    """
    path = Path(name)
    if path.is_dir():
        # Not at the top: the settings import this module, and need nothing of that one.
        from cloud_tasks.history.starts import chosen_log

        directory = RunDir(path)
        elsewhere = chosen_log(directory.runs)
        events = directory.events if elsewhere is None else elsewhere
        if not (events.is_file() or directory.runs.is_file()):
            raise HistoryError(
                f"{name!r} is no run directory: it has no {directory.events.name}; "
                "give a run directory or an event log"
            )
        return RunFiles(name, events, directory.logs, directory)
    if not path.is_file():
        raise HistoryError(f"there is no run directory and no event log {name!r}")
    if path.parent.joinpath("runs.jsonl").is_file() and path.name == "events.jsonl":
        directory = RunDir(path.parent)
        return RunFiles(name, path, directory.logs, directory)
    return RunFiles(name, path, logs_beside(path))
