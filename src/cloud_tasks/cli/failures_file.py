"""The failed tasks of a run as a task file: where to, from where, and what to do with it."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.events.causes import FailureCause
from cloud_tasks.history.commands import rerun_with_file
from cloud_tasks.history.failures import Found, TaskKey, write_task_file
from cloud_tasks.history.layout import Traces
from cloud_tasks.history.starts import Origin, origins
from cloud_tasks.text import plural, safe

_SUFFIXES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Written:
    """What came of writing the file.

    Attributes:
        path: of the file.
        wanted: how many tasks should be in it.
        found: how many are, and what became of the others.
        looked: it was known where data could be.
        command: what to type to run them; None: nobody knows.
    """

    path: str
    wanted: int
    found: Found
    looked: bool
    command: str | None

    def lines(self) -> list[str]:
        """Say so in a few sentences."""
        lines = [safe(problem, 1000) for problem in self.found.problems]
        if self.found.written or not self.wanted:
            lines.append(f"wrote {plural(self.found.written, 'task')} to {safe(self.path)}")
        if self.found.lost:
            lines.append(self._lost())
        if self.command is not None and self.found.written:
            lines.append(f"run them again with:  {safe(self.command, 4000)}")
        return lines

    def _lost(self) -> str:
        found = self.found
        reasons = {
            "whose data were found nowhere": found.missing,
            "whose id was found with other data only": found.other_data,
            "whose data JSON can't hold": found.unwritable,
        }
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
        hint = "" if self.looked else "; name the task file of the run with --task-file FILE"
        return (
            f"{found.lost:,} of {plural(self.wanted, 'failed task')} could not be written: "
            f"{told}{hint}"
        )

    def to_dict(self) -> dict[str, object]:
        """Return it as JSON has it."""
        found = self.found
        return {
            "path": self.path,
            "wanted": self.wanted,
            "written": found.written,
            "missing": found.missing,
            "other_data": found.other_data,
            "unwritable": found.unwritable,
            "problems": found.problems,
            "command": self.command,
        }


def write(
    output: str,
    traces: Traces,
    wanted: Mapping[TaskKey, FailureCause],
    task_files: Mapping[str, str | None],
) -> Written:
    """Write the tasks *wanted* of a run to the file *output*.

    Args:
        output: its name.
        traces: of the run.
        wanted: with their causes.
        task_files: where their data are, by the user, with the format; empty: where the run says.

    Raises:
        ConfigurationError: *output* is a file that must stay as it is, or its name doesn't do.
        HistoryError: it can't be written.
    """
    directory = traces.directory
    starts = [] if directory is None else origins(directory.runs)
    _check_name(output, traces, task_files, starts)
    places = dict(task_files)
    if not places:
        for start in starts:
            places.setdefault(start.task_file, start.task_format)
    found = write_task_file(
        Path(output),
        {key: cause.text for key, cause in wanted.items()},
        failures=None if directory is None else directory.failures,
        task_files=places,
    )
    command = _command(starts[0], output) if starts and starts[0].command else None
    looked = bool(places) or directory is not None
    return Written(output, len(wanted), found, looked, command)


def _check_name(
    output: str, traces: Traces, task_files: Iterable[str], starts: list[Origin]
) -> None:
    if not output.lower().endswith(_SUFFIXES):
        raise ConfigurationError(
            f"the file {output!r} must have a name that ends in .jsonl, by which a run knows its "
            "format"
        )
    mine = [traces.events]
    if traces.directory is not None:
        mine += [traces.directory.failures, traces.directory.runs]
    if any(_same(output, path) for path in mine):
        raise ConfigurationError(f"{output!r} belongs to the run itself: choose another -o FILE")
    if any(_same(output, name) for name in task_files) or (
        any(_same(output, start.task_file) for start in starts) and not _is_ours(output)
    ):
        raise ConfigurationError(
            f"{output!r} is the task file that the tasks came from: choose another -o FILE"
        )


def _same(name: str | Path, other: str | Path) -> bool:
    try:
        return Path(name).samefile(other)
    except OSError:  # one of them isn't there
        return os.path.realpath(name) == os.path.realpath(other)


def _is_ours(name: str) -> bool:
    """Tell whether an earlier call wrote the file: then it may be written anew."""
    try:
        with Path(name).open("rb") as file:
            return "cause" in json.loads(file.readline())
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _command(start: Origin, output: str) -> str:
    here = start.cwd is None or _same(start.cwd, Path.cwd())
    if here:
        return rerun_with_file(start.command, output)
    command = rerun_with_file(start.command, str(Path(output).absolute()))
    return f"cd {shlex.quote(start.cwd or '')} && {command}"
