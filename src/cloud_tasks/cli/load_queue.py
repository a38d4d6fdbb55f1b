"""``cloud_tasks load_queue``: the tasks of a file into the queue of a job."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from cloud_tasks.cli._job_arguments import add_job_arguments, default_ledger, parse
from cloud_tasks.display.command_output import StatusLine
from cloud_tasks.loading.loader import Loader, LoadOptions
from cloud_tasks.queues.base import QueueSpec
from cloud_tasks.settings.parse import whole
from cloud_tasks.sources.files.task_file import FORMATS
from cloud_tasks.sources.local import make_source

_DONE, _PROBLEMS = 0, 1
#: Hand-backs count as deliveries, so the provider's own limit must be some way above ours.
_SPARE_DELIVERIES = 10
_SETTINGS = ("max_runtime", "max_attempts", "lease")


def main(argv: list[str]) -> int:
    """Load what *argv* names; returns 0 if all entries were loaded, else 1."""
    parser = _parser()
    args, job = parse(parser, argv, *_SETTINGS)
    names = [name for name in (args.task_file, args.task_file_flag) if name is not None]
    if len(names) != 1:
        parser.error("give one task file, as TASK_FILE or by --task-file")
    source = make_source(names[0], task_format=args.task_format)
    options = LoadOptions(
        start=args.start_task,
        limit=args.limit,
        dry_run=args.dry_run,
        ledger=None if args.no_ledger else Path(args.ledger or default_ledger(job.name)),
        spec=task_queue_spec(args.max_runtime, args.max_attempts, args.lease, job.dead),
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
        description="Send the tasks of a file to the queue of a job, which is made if it is not "
        "there, with the event queue NAME-events and the queue NAME-dead for tasks that are given "
        "up. After a crash, the same command sends the rest.",
    )
    parser.add_argument("task_file", nargs="?", metavar="TASK_FILE", help="a path, an address or -")
    parser.add_argument(
        "--task-file", "--tasks", dest="task_file_flag", metavar="FILE", help="the same as a flag"
    )
    parser.add_argument(
        "--task-format", choices=sorted(FORMATS), help="where the name doesn't tell the format"
    )
    parser.add_argument("--start-task", metavar="TASK_ID", help="leave out all tasks before this")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=_count,
        help="load N tasks at most; those that an interrupted run has loaded count",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="read and check all; make and send nothing"
    )
    ledgers = parser.add_mutually_exclusive_group()
    ledgers.add_argument(
        "--ledger",
        metavar="FILE",
        help="where to note what was loaded, until all is [default: NAME.load-ledger]",
    )
    ledgers.add_argument(
        "--no-ledger", action="store_true", help="note nothing: a repeat sends all tasks again"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_job_arguments(parser, *_SETTINGS)
    return parser


def _count(value: str) -> int:
    try:
        return whole(0)(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def task_queue_spec(
    max_runtime: float, max_attempts: int, lease: float | None, dead: str
) -> QueueSpec:
    """Return how a task queue is to be made.

    Args:
        max_runtime: seconds that a task may run.
        max_attempts: after so many a task is given up; 0: never.
        lease: seconds; None: what a worker takes.
        dead: name of the queue for what the provider gives up.
    """
    seconds = min(120.0, max(30.0, max_runtime + 10.0)) if lease is None else lease
    if max_attempts == 0:
        return QueueSpec(lease=math.ceil(seconds))
    return QueueSpec(
        lease=math.ceil(seconds),
        dead_letter=dead,
        max_deliveries=max_attempts + _SPARE_DELIVERIES,
    )
