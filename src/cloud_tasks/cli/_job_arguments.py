"""Parse the flags by which the commands for a job's queues find these queues."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from cloud_tasks import registry
from cloud_tasks.queues.job import JobQueues
from cloud_tasks.settings.derive import require_queue
from cloud_tasks.settings.resolve import add_row, collect
from cloud_tasks.settings.table import ROWS

#: The settings by which a worker finds its queues. The commands have the same flags and variables.
_JOB = ("provider", "job_id", "project_id", "queue_name", "exactly_once_queue", "endpoint_url")


def add_job_arguments(parser: argparse.ArgumentParser, *more: str) -> None:
    """Add the flags that name the queues of a job, and those of the settings *more*."""
    group = parser.add_argument_group("Job")
    for name in (*_JOB, *more):
        add_row(group, ROWS[name])


def parse(
    parser: argparse.ArgumentParser,
    argv: Sequence[str],
    *more: str,
    environ: Mapping[str, str] | None = None,
) -> tuple[argparse.Namespace, JobQueues]:
    """Return the arguments and the queues; the command line beats the environment.

    *parser* has the flags of :func:`add_job_arguments`, which was given the same *more*.

    Raises:
        SystemExit: values are wrong or missing; the parser has printed which.
    """
    args = parser.parse_args(argv)
    draft = collect(parser, args, (*_JOB, *more), environ)
    if not draft.problems:
        require_queue(draft)
    if draft.problems:
        parser.error("; ".join(draft.problems))
    for name, value in draft.values.items():
        setattr(args, name, value)
    provider = registry.load("queue", args.provider)(
        project_id=args.project_id,
        endpoint_url=args.endpoint_url,
        exactly_once=args.exactly_once_queue,
    )
    return args, JobQueues(args.provider, provider, args.queue_name or args.job_id)
