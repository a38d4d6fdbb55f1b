"""``cloud_tasks load_queue``: send the tasks of a file to the queue of a job."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cloud_tasks.cli._job_arguments import add_job_arguments, parse
from cloud_tasks.display.command_output import StatusLine
from cloud_tasks.loading.loader import Loader, LoadOptions, default_ledger
from cloud_tasks.settings.parse import argument, whole
from cloud_tasks.settings.table import default_lease
from cloud_tasks.sources.files.task_file import FORMATS
from cloud_tasks.sources.local import make_source

_DONE, _PROBLEMS = 0, 1
_SETTINGS = ("max_runtime", "max_attempts", "lease")


def main(argv: list[str]) -> int:
    """Load the task file that *argv* names; returns 0 if all entries were loaded, else 1."""
    parser = _parser()
    args, job = parse(parser, argv, *_SETTINGS)
    names = [name for name in (args.task_file, args.task_file_flag) if name is not None]
    if len(names) != 1:
        parser.error("give one task file, as TASK_FILE or by --task-file")
    source = make_source(names[0], task_format=args.task_format)
    lease = default_lease(args.max_runtime) if args.lease is None else args.lease
    options = LoadOptions(
        start=args.start_task,
        limit=args.limit,
        dry_run=args.dry_run,
        ledger=None if args.no_ledger else Path(args.ledger or default_ledger(job.name)),
        spec=job.task_queue_spec(lease=lease, max_attempts=args.max_attempts),
    )
    loader = Loader(job, source, options)
    with StatusLine(loader.progress) as status:
        loader.run(status.print)
    if args.json:
        print(json.dumps(loader.report(), indent=2))
    else:
        print("\n".join(loader.lines()))
    return _PROBLEMS if loader.result.refused else _DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud_tasks load_queue",
        description="Send the tasks of a file to the queue of a job. The queue is created if it "
        "doesn't exist, with the event queue NAME-events and the dead-letter queue NAME-dead for "
        "tasks that are given up. After a crash, the same command sends the rest.",
    )
    parser.add_argument(
        "task_file", nargs="?", metavar="TASK_FILE", help="a path, an address, or - for stdin"
    )
    parser.add_argument(
        "--task-file", "--tasks", dest="task_file_flag", metavar="FILE", help="the same as a flag"
    )
    parser.add_argument(
        "--task-format", choices=sorted(FORMATS), help="format, if the name doesn't show it"
    )
    parser.add_argument("--start-task", metavar="TASK_ID", help="skip all tasks before this one")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=argument(whole(0)),
        help="load at most N tasks; those that an interrupted run has loaded count",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read and check everything; create and send nothing"
    )
    ledgers = parser.add_mutually_exclusive_group()
    ledgers.add_argument(
        "--ledger",
        metavar="FILE",
        help="record what was loaded in FILE until all is [default: NAME.load-ledger]",
    )
    ledgers.add_argument(
        "--no-ledger", action="store_true", help="record nothing: a repeat sends all tasks again"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_job_arguments(parser, *_SETTINGS)
    return parser
