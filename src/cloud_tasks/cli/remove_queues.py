"""``cloud_tasks purge_queue`` and ``delete_queue``: empty or delete the queues of a job.

Both are here because they differ by one request: which queues, the question before and the report
after are the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cloud_tasks.cli._job_arguments import add_job_arguments, parse
from cloud_tasks.errors import ConfigurationError
from cloud_tasks.loading.loader import default_ledger, ledger_of
from cloud_tasks.queues.job import JobQueues
from cloud_tasks.text import safe

_REFUSED = 1


def purge(argv: list[str]) -> int:
    """Empty the queues that *argv* names; returns the exit code.

    Raises:
        ConfigurationError: *argv* has no ``--force``, and there is no terminal to ask at.
        QueueMissingError: none of the queues exists.
        QueueError: the provider doesn't answer, or refuses.
    """
    parser = argparse.ArgumentParser(
        prog="cloud_tasks purge_queue",
        description="Delete all messages of the task queue, the event queue and the dead-letter "
        "queue of a job; the queues stay. The provider may take a minute for it.",
    )
    return _remove(parser, argv, "purge", JobQueues.purge)


def delete(argv: list[str]) -> int:
    """Delete the queues that *argv* names; returns the exit code.

    Raises:
        ConfigurationError: *argv* has no ``--force``, and there is no terminal to ask at.
        QueueError: the provider doesn't answer, or refuses.
    """
    parser = argparse.ArgumentParser(
        prog="cloud_tasks delete_queue",
        description="Delete the task queue, the event queue and the dead-letter queue of a job, "
        "with all their messages. A queue that doesn't exist is no error.",
    )
    return _remove(parser, argv, "delete", JobQueues.delete)


def _remove(
    parser: argparse.ArgumentParser,
    argv: list[str],
    verb: str,
    remove: Callable[[JobQueues, Sequence[str]], dict[str, bool]],
) -> int:
    """Ask, *remove*, and report; returns the exit code.

    With a d, *verb* is the past tense. *remove* returns for each name whether its queue existed.
    """
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--task-queue-only", action="store_true", help="only the task queue")
    only.add_argument("--event-queue-only", action="store_true", help="only the event queue")
    parser.add_argument("--force", "-f", action="store_true", help="don't ask")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_job_arguments(parser)
    args, job = parse(parser, argv)
    if args.task_queue_only:
        names = [job.name]
    elif args.event_queue_only:
        names = [job.events]
    else:
        names = list(job.roles.values())
    if not args.force and not _confirmed(job.name, names, verb):
        print("nothing was done", file=sys.stderr)
        return _REFUSED
    existed = remove(job, names)
    ledger = _forget_ledger(job) if job.name in names else None
    if args.json:
        queues = [{"name": name, "existed": existed[name]} for name in names]
        print(json.dumps({"provider": job.provider_name, "done": verb, "queues": queues}, indent=2))
        return 0
    for name in names:
        print(f"{safe(name)}: {f'{verb}d' if existed[name] else 'no such queue'}")
    if ledger is not None:
        print(f"removed {ledger}: the tasks that it lists are gone from the queue", file=sys.stderr)
    return 0


def _confirmed(name: str, names: list[str], verb: str) -> bool:
    """Ask at the terminal; returns whether the user typed the queue's name."""
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"standard input is no terminal, so there is no way to ask whether to {verb} "
            f"{', '.join(names)}: give --force to do it unasked"
        )
    print(f"This will {verb} with all messages: {', '.join(map(safe, names))}", file=sys.stderr)
    print(f"Type {safe(name)} to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == name


def _forget_ledger(job: JobQueues) -> Path | None:
    """Delete the ledger of loaded tasks, if it is here, because the next load must not trust it.

    Returns its path; None: there is none, it is about another queue, or a load is under way.
    """
    ledger = ledger_of(job, default_ledger(job.name))
    if not ledger.path.exists():
        return None
    try:
        ledger.open()
    except ConfigurationError:
        return None
    ledger.finish()
    return ledger.path
