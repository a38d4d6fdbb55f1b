"""Parse the flags by which the commands for a job's queues find these queues."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloud_tasks import registry
from cloud_tasks.queues.job import JobQueues
from cloud_tasks.settings.providers import alternatives_to, required_settings
from cloud_tasks.settings.table import ROWS

#: The settings by which a worker finds its queues. The commands have the same flags and variables.
_JOB = (
    "provider",
    "job_id",
    "project_id",
    "queue_name",
    "exactly_once_queue",
    "endpoint_url",
)


def add_job_arguments(parser: argparse.ArgumentParser, *more: str) -> None:
    """Add the flags that name the queues of a job, and those of the settings *more*."""
    group = parser.add_argument_group("Job")
    for name in (*_JOB, *more):
        row = ROWS[name]
        options: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if not row.is_boolean:
            options = {"metavar": row.metavar}
        # SUPPRESS, not None: before Python 3.13 the boolean action appends a default to its help.
        action = group.add_argument(
            *row.flags, dest=name, default=argparse.SUPPRESS, help="", **options
        )
        action.help = row.help_text()


def parse(
    parser: argparse.ArgumentParser,
    argv: Sequence[str],
    *more: str,
    environ: Mapping[str, str] | None = None,
) -> tuple[argparse.Namespace, JobQueues]:
    """Return the arguments and the queues; the command line beats the environment.

    Args:
        parser: has the flags of :func:`add_job_arguments`.
        argv: the command line after the command's name.
        more: as given there.
        environ: the environment; None: that of this process.

    Raises:
        SystemExit: values are wrong or missing; the parser has printed which.
    """
    args = parser.parse_args(argv)
    problems = _fill(args, (*_JOB, *more), os.environ if environ is None else environ)
    problems = problems or list(_missing(args))
    if problems:
        parser.error("; ".join(problems))
    provider = registry.load("queue", args.provider)(
        project_id=args.project_id,
        endpoint_url=args.endpoint_url,
        exactly_once=args.exactly_once_queue,
    )
    return args, JobQueues(args.provider, provider, args.queue_name or args.job_id)


def _fill(args: argparse.Namespace, names: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Set the final values in *args*; returns a sentence for each that is wrong."""
    problems = []
    for name in names:
        row = ROWS[name]
        given = getattr(args, name, None)
        if given is None and row.env:
            given = environ.get(row.env) or None
        setattr(args, name, row.default)
        if given is not None:
            try:
                setattr(args, name, row.parse(str(given)))
            except ValueError as error:
                problems.append(row.complaint(str(error)))
    return problems


def _missing(args: argparse.Namespace) -> Iterator[str]:
    if args.provider is None:
        yield ROWS["provider"].complaint("is needed")
    elif others := alternatives_to(args.provider):
        sentence = f"one of {', '.join(others)} is needed: {args.provider} has no queues here"
        yield ROWS["provider"].complaint(sentence)
    if args.job_id is None and args.queue_name is None:
        other = ROWS["queue_name"]
        yield ROWS["job_id"].complaint(f"this or {other.flag} ({other.env}) is needed")
    for name in required_settings(args.provider):
        if getattr(args, name) is None:
            yield ROWS[name].complaint(f"is needed for a queue of {args.provider}")
