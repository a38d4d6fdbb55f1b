"""``cloud_tasks failures``: list the failed tasks of a run by cause, or write them to a task file.

::

    event log ─► FailedTasks ─► groups by cause ─► --cause ─► table or JSON
                                                        └► -o: task file, with the data from
                                                           failures.jsonl or the run's task file
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloud_tasks.display.command_output import print_table
from cloud_tasks.errors import ConfigurationError, HistoryError
from cloud_tasks.events.causes import FailureCause
from cloud_tasks.events.reading import EventReader
from cloud_tasks.history.commands import note_on, rerun_with_file
from cloud_tasks.history.failures import (
    FailedGroup,
    FailedTasks,
    SearchResult,
    TaskKey,
    write_task_file,
)
from cloud_tasks.history.layout import RunFiles, find_run
from cloud_tasks.history.starts import Start, starts_with_files
from cloud_tasks.masking import is_masked
from cloud_tasks.sources.files.task_file import FORMATS
from cloud_tasks.text import plural, safe

#: Causes that are listed without --all.
_SHOWN = 20
_SUFFIXES = (".jsonl", ".ndjson")
_NOT_ALL_FOUND = 1


def main(argv: list[str]) -> int:
    """List the failures of the run that *argv* names; returns 1 if *-o* missed some, else 0.

    Raises:
        HistoryError: there is no such run, or it can't be read, or the file can't be written.
        ConfigurationError: there is no such cause, or *-o* names a file that must stay.
    """
    args = _parser().parse_args(argv)
    run_files = find_run(args.run)
    reader, failed = EventReader(run_files.events), FailedTasks()
    failed.read(reader)
    _check_is_log(args.run, reader)
    groups = failed.groups()
    chosen = groups if args.cause is None else _chosen(groups, args.cause)
    written = None
    if args.output is not None:
        given = {args.task_file: args.task_format} if args.task_file else {}
        written = _write(args.output, run_files, dict(failed.of(chosen)), given)
    if args.json:
        print(json.dumps(_document(args.run, reader, failed, chosen, written), indent=2))
    else:
        _print_groups(failed, groups, chosen, limit=len(chosen) if args.all else _SHOWN)
    _print_notes(reader, failed, written)
    return _NOT_ALL_FOUND if written is not None and written.found.lost else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud_tasks failures",
        description="List the failed tasks of a run by cause. A task that a later attempt "
        "completed has not failed.",
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, or an event log")
    parser.add_argument(
        "--cause",
        metavar="TEXT",
        help="show only causes that contain TEXT, or the one with that number",
    )
    parser.add_argument("--all", action="store_true", help=f"list all causes, not only {_SHOWN}")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the failed tasks to FILE, a task file for another run; its name ends in .jsonl",
    )
    parser.add_argument(
        "--task-file",
        metavar="FILE",
        help="task file of the run, to take the data of its tasks from [default: as the run "
        "directory records]",
    )
    parser.add_argument(
        "--task-format", choices=sorted(FORMATS), help="its format, if the name doesn't show it"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return parser


def _check_is_log(name: str, reader: EventReader) -> None:
    odd = reader.not_json + reader.torn + sum(reader.unknown.values())
    if reader.lines and odd == reader.lines:
        raise HistoryError(
            f"{name!r} is no event log: none of its {plural(reader.lines, 'line')} is an event"
        )


def _chosen(groups: list[FailedGroup], cause: str) -> list[FailedGroup]:
    """Return the groups whose cause contains the text *cause*, or the one of that number."""
    if cause.isdecimal() and 0 < int(cause[:9]) <= len(groups):
        return [groups[int(cause[:9]) - 1]]
    chosen = [group for group in groups if cause in group.cause.text]
    if not chosen:
        raise ConfigurationError(
            f"no cause of failure contains {cause!r}: leave out --cause to see all "
            f"{len(groups):,} of them"
        )
    return chosen


def _print_groups(
    failed: FailedTasks, groups: list[FailedGroup], chosen: list[FailedGroup], *, limit: int
) -> None:
    if failed.count:
        print(f"{plural(failed.count, 'task')} failed, {plural(len(groups), 'cause')}")
        print_table(
            ("#", "tasks", "cause", "where", "first", "examples"),
            [_row(group) for group in chosen[:limit]],
        )
        rest = chosen[limit:]
        if rest:
            tasks = plural(sum(group.count for group in rest), "task")
            print(f"and {tasks} for {plural(len(rest), 'other cause')}: --all lists them")
    else:
        print("no task has failed")
    pending = failed.to_run_again()
    if pending:
        causes = ", ".join(f"{safe(text, 100)} ({n:,})" for text, n in list(pending.items())[:5])
        print(f"to be run again: {plural(sum(pending.values()), 'task')}: {causes}")


def _row(group: FailedGroup) -> tuple[str, ...]:
    ids = [safe(task_id, 40) for task_id in group.examples[:3]]
    return (
        str(group.number),
        f"{group.count:,}",
        safe(group.cause.text, 100),
        safe(group.cause.where or "-", 60),
        safe((group.first or "-")[:19].replace("T", " ")),
        "  ".join([*ids, *(["…"] if group.count > len(ids) else [])]),
    )


def _document(
    run: str,
    reader: EventReader,
    failed: FailedTasks,
    chosen: list[FailedGroup],
    written: Written | None,
) -> dict[str, Any]:
    return {
        "run": run,
        "failed": failed.count,
        "causes": [
            {
                "number": group.number,
                "cause": group.cause.text,
                "where": group.cause.where,
                "count": group.count,
                "first": group.first,
                "last": group.last,
                "examples": group.examples,
            }
            for group in chosen
        ],
        "to_run_again": failed.to_run_again(),
        "log": {
            "lines": reader.lines,
            "not_json": reader.not_json,
            "torn": reader.torn,
            "unknown": reader.unknown,
            "nameless": failed.nameless,
        },
        "output": None if written is None else written.to_dict(),
    }


def _print_notes(reader: EventReader, failed: FailedTasks, written: Written | None) -> None:
    """Print to standard error which lines of the log were skipped, and what was written."""
    odd = []
    if reader.not_json:
        odd.append(f"{plural(reader.not_json, 'line')} without a JSON object")
    if reader.torn:
        odd.append("a last line that is cut off")
    if reader.unknown:
        names = ", ".join(safe(name, 40) for name in list(reader.unknown)[:5])
        odd.append(f"{plural(sum(reader.unknown.values()), 'event')} of unknown type ({names})")
    if failed.nameless:
        odd.append(f"{plural(failed.nameless, 'task event')} without an id")
    if odd:
        print(f"cloud_tasks: left out of the event log: {'; '.join(odd)}", file=sys.stderr)
    if written is not None:
        for line in written.lines():
            print(f"cloud_tasks: {line}", file=sys.stderr)


# -- the task file of -o


@dataclass(frozen=True, slots=True)
class Written:
    """The result of writing the task file.

    Attributes:
        asked: number of tasks that should be in it.
        found: number of tasks that are, and why the others are missing.
        looked: there was a place to look for data.
        command: to run these tasks; None: the command line of the run is unknown.
    """

    path: str
    asked: int
    found: SearchResult
    looked: bool
    command: str | None

    def lines(self) -> list[str]:
        """Return a few sentences for the user."""
        lines = [safe(problem, 1000) for problem in self.found.problems]
        if self.found.written or not self.asked:
            lines.append(f"wrote {plural(self.found.written, 'task')} to {safe(self.path)}")
        if self.found.lost:
            lines.append(self._lost())
        if self.command is not None and self.found.written:
            lines.append(f"run them again with:  {safe(self.command, 4000)}")
            lines += note_on(self.command)
        return lines

    def _lost(self) -> str:
        found = self.found
        reasons = {
            "whose data were found nowhere": found.missing,
            "whose id was found with other data only": found.other_data,
            "whose data JSON can't hold": found.unwritable,
        }
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
        hint = "" if self.looked else "; name the task file of the run with --task-file FILE"
        return (
            f"{found.lost:,} of {plural(self.asked, 'failed task')} could not be written: "
            f"{counts}{hint}"
        )

    def to_dict(self) -> dict[str, object]:
        """Return the result for ``--json``."""
        place = {"path": self.path, "wanted": self.asked}
        return {**place, **asdict(self.found), "command": self.command}


def _write(
    output: str,
    run_files: RunFiles,
    tasks: Mapping[TaskKey, FailureCause],
    task_files: Mapping[str, str | None],
) -> Written:
    """Write *tasks* of a run to the file *output*.

    Their data are taken from *task_files*, which the user named, with their formats; empty: from
    those that the run directory names.

    Raises:
        ConfigurationError: *output* is a file that must stay, or lacks the suffix of JSON Lines.
        HistoryError: it can't be written.
    """
    directory = run_files.directory
    starts = [] if directory is None else starts_with_files(directory.runs)
    _check_name(output, run_files, task_files, [name for name, _ in starts])
    places = dict(task_files)
    masked = []
    if not places:
        masked = list(dict.fromkeys(name for name, _ in starts if is_masked(name)))
        for name, start in starts:
            if name not in masked:
                places.setdefault(name, start.task_format)
    found = write_task_file(
        Path(output),
        {key: cause.text for key, cause in tasks.items()},
        failures=None if directory is None else directory.failures,
        task_files=places,
    )
    if found.lost:
        found.problems += [
            f"the run keeps no secrets, so the address of its task file is incomplete ({name}): "
            "give it with --task-file"
            for name in masked
        ]
    command = _command(starts[0][1], output) if starts and starts[0][1].command else None
    looked = bool(places) or directory is not None
    return Written(output, len(tasks), found, looked, command)


def _check_name(
    output: str, run_files: RunFiles, task_files: Iterable[str], recorded: Iterable[str]
) -> None:
    if not output.lower().endswith(_SUFFIXES):
        raise ConfigurationError(
            f"the file {output!r} must have a name that ends in .jsonl, because a run tells the "
            "format by it"
        )
    mine = [run_files.events]
    if run_files.directory is not None:
        mine += [run_files.directory.failures, run_files.directory.runs]
    if any(_same(output, path) for path in mine):
        raise ConfigurationError(f"{output!r} belongs to the run itself: choose another -o FILE")
    if any(_same(output, name) for name in task_files) or (
        any(_same(output, name) for name in recorded) and not _is_ours(output)
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
    """Return whether an earlier call wrote the file, so that it may be replaced."""
    try:
        with Path(name).open("rb") as file:
            return "cause" in json.loads(file.readline())
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _command(start: Start, output: str) -> str:
    here = start.cwd is None or _same(start.cwd, ".")
    if here:
        return rerun_with_file(start.command, output)
    command = rerun_with_file(start.command, str(Path(output).absolute()))
    return f"cd {shlex.quote(start.cwd or '')} && {command}"
