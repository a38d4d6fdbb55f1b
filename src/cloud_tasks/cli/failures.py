"""``cloud_tasks failures``: the tasks of a run that failed, by cause, or as a task file."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from cloud_tasks.cli.failures_file import Written, write
from cloud_tasks.display.tables import print_table
from cloud_tasks.errors import ConfigurationError, HistoryError
from cloud_tasks.events.reading import EventReader
from cloud_tasks.history.failures import FailedGroup, FailedTasks
from cloud_tasks.history.layout import find
from cloud_tasks.sources.files.task_file import FORMATS
from cloud_tasks.text import plural, safe

_SHOWN = 20
_NOT_ALL_FOUND = 1


def main(argv: list[str]) -> int:
    """List the failures of the run that *argv* names; returns 1 if *-o* missed some, else 0.

    Raises:
        HistoryError: there is no such run, or it can't be read, or the file can't be written.
        ConfigurationError: there is no such cause, or *-o* names a file that must stay.
    """
    args = _parser().parse_args(argv)
    traces = find(args.run)
    reader, failed = EventReader(traces.events), FailedTasks()
    failed.read(reader)
    _check_is_log(args.run, reader)
    groups = failed.groups()
    chosen = groups if args.cause is None else _chosen(groups, args.cause)
    written = None
    if args.output is not None:
        given = {args.task_file: args.task_format} if args.task_file else {}
        written = write(args.output, traces, dict(failed.of(chosen)), given)
    if args.json:
        print(json.dumps(_document(args.run, reader, failed, chosen, written), indent=2))
    else:
        _print(failed, groups, chosen, _SHOWN if not args.all else len(chosen))
    _talk(reader, failed, written)
    return _NOT_ALL_FOUND if written is not None and written.found.lost else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud_tasks failures",
        description="List the tasks of a run that failed, by cause. What was done by a later try "
        "has not failed.",
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, or an event log")
    parser.add_argument(
        "--cause", metavar="TEXT", help="only causes that contain TEXT, or the cause of that number"
    )
    parser.add_argument("--all", action="store_true", help=f"list more than {_SHOWN} causes")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the failed tasks to FILE.jsonl, a task file for another run",
    )
    parser.add_argument(
        "--task-file",
        metavar="FILE",
        help="where the data of the tasks are, if the run has no directory that tells",
    )
    parser.add_argument(
        "--task-format", choices=sorted(FORMATS), help="where its name doesn't tell the format"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return parser


def _check_is_log(name: str, reader: EventReader) -> None:
    odd = reader.not_json + reader.torn + sum(reader.unknown.values())
    if reader.lines and odd == reader.lines:
        raise HistoryError(
            f"{name!r} is no event log: none of its {plural(reader.lines, 'line')} is an event"
        )


def _chosen(groups: list[FailedGroup], wanted: str) -> list[FailedGroup]:
    if wanted.isdecimal() and 0 < int(wanted[:9]) <= len(groups):
        return [groups[int(wanted[:9]) - 1]]
    chosen = [group for group in groups if wanted in group.cause.text]
    if not chosen:
        raise ConfigurationError(
            f"no cause of failure contains {wanted!r}: leave out --cause to see all "
            f"{len(groups):,} of them"
        )
    return chosen


def _print(
    failed: FailedTasks, groups: list[FailedGroup], chosen: list[FailedGroup], most: int
) -> None:
    if failed.count:
        print(f"{plural(failed.count, 'task')} failed, {plural(len(groups), 'cause')}")
        print_table(
            ("#", "tasks", "cause", "where", "first", "examples"),
            [_row(group) for group in chosen[:most]],
        )
        rest = chosen[most:]
        if rest:
            tasks = plural(sum(group.count for group in rest), "task")
            print(f"and {tasks} for {plural(len(rest), 'other cause')}: --all lists them")
    else:
        print("no task has failed")
    again = failed.to_run_again()
    if again:
        causes = ", ".join(f"{safe(text, 100)} ({n:,})" for text, n in list(again.items())[:5])
        print(f"to be run again: {plural(sum(again.values()), 'task')}: {causes}")


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


def _talk(reader: EventReader, failed: FailedTasks, written: Written | None) -> None:
    """Say on standard error what is odd about the log, and what was written."""
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
