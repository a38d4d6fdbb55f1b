"""What ``purge_queue`` and ``delete_queue`` have in common: which queues, and whether really."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from cloud_tasks.cli._job_arguments import add_job_arguments, default_ledger, parse
from cloud_tasks.errors import ConfigurationError
from cloud_tasks.loading.loader import ledger_of
from cloud_tasks.queues.job import JobQueues
from cloud_tasks.text import safe

_REFUSED = 1


def run(
    argv: list[str],
    *,
    command: str,
    description: str,
    verb: str,
    remove: Callable[[JobQueues, list[str]], dict[str, bool]],
) -> int:
    """Ask and do it; returns the exit code.

    Args:
        argv: the command line after the command's name.
        command: that name.
        description: for its help.
        verb: what is done to the queues, as ``delete``, and ``deleted`` with a d.
        remove: does it to the queues of these names; says for each whether there was one.

    Raises:
        ConfigurationError: nobody can be asked.
        QueueError: it could not be done.
    """
    args, job = _arguments(argv, command, description)
    names = _names(job, args)
    if not args.force and not _agreed(job.name, names, verb):
        print("nothing was done", file=sys.stderr)
        return _REFUSED
    done = remove(job, names)
    ledger = _forget_ledger(job) if job.name in names else None
    if args.json:
        queues = [{"name": name, "existed": done[name]} for name in names]
        print(json.dumps({"provider": job.provider_name, "done": verb, "queues": queues}, indent=2))
        return 0
    for name in names:
        print(f"{safe(name)}: {f'{verb}d' if done[name] else 'no such queue'}")
    if ledger is not None:
        print(f"removed {ledger}: what it lists is in the queue no more", file=sys.stderr)
    return 0


def _arguments(
    argv: list[str], command: str, description: str
) -> tuple[argparse.Namespace, JobQueues]:
    parser = argparse.ArgumentParser(prog=f"cloud_tasks {command}", description=description)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--task-queue-only", action="store_true", help="only the task queue")
    only.add_argument("--event-queue-only", action="store_true", help="only the event queue")
    parser.add_argument("--force", "-f", action="store_true", help="don't ask")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_job_arguments(parser)
    return parse(parser, argv)


def _names(job: JobQueues, args: argparse.Namespace) -> list[str]:
    if args.task_queue_only:
        return [job.name]
    if args.event_queue_only:
        return [job.events]
    return list(job.roles.values())


def _agreed(name: str, names: list[str], verb: str) -> bool:
    """Ask whoever sits at the terminal."""
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"nobody can be asked whether to {verb} {', '.join(names)}, because standard input is "
            "no terminal: give --force to do it unasked"
        )
    print(f"This will {verb} with all messages: {', '.join(map(safe, names))}", file=sys.stderr)
    print(f"Type {safe(name)} to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == name


def _forget_ledger(job: JobQueues) -> Path | None:
    """Remove the ledger of what was loaded, if it is here: the next load must not trust it."""
    ledger = ledger_of(job, default_ledger(job.name))
    if not ledger.path.exists():
        return None
    try:
        ledger.open()
    except ConfigurationError:  # about another queue, or a load is under way
        return None
    ledger.finish()
    return ledger.path
