"""``cloud_tasks show_queue``: show how many messages are in the queues of a job."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from dataclasses import asdict, dataclass

from cloud_tasks.cli._job_arguments import add_job_arguments, parse
from cloud_tasks.display.command_output import print_table
from cloud_tasks.queues.base import Depth, Message
from cloud_tasks.queues.job import JobQueues, opened
from cloud_tasks.settings.parse import argument, whole
from cloud_tasks.text import safe

#: Messages shown by --detail without a number.
_SAMPLE = 10
#: Seconds of their lease, and seconds to wait for them.
_LEASE, _WAIT = 30.0, 2.0
#: Seconds for which a failed request for them is retried.
_PATIENCE = 30.0
#: Characters shown of each one's data.
_SHOWN = 200


def main(argv: list[str]) -> int:
    """Show the queues that *argv* names; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="cloud_tasks show_queue",
        description="Show how many messages are in the task queue, the event queue and the "
        "dead-letter queue of a job, as far as the provider counts them.",
    )
    parser.add_argument(
        "--detail",
        nargs="?",
        type=argument(whole(1)),
        const=_SAMPLE,
        metavar="N",
        help=f"show N messages of the task queue as well [default of N: {_SAMPLE}]. They are "
        "received and handed back at once, which counts as a delivery of each",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_job_arguments(parser)
    args, job = parse(parser, argv)
    depths = job.depths()
    found = None if args.detail is None else sample(job, args.detail)
    if args.json:
        queues = [_to_dict(role, name, depths[name]) for role, name in job.roles.items()]
        report = {"provider": job.provider_name, "queues": queues}
        if found is not None:
            report["sample"] = [asdict(message) for message in found]
        print(json.dumps(report, indent=2))
        return 0
    print_table(("queue", "visible", "in flight"), [_cells(*item) for item in depths.items()])
    if found is not None:
        _print_sample(found)
    return 0


def _to_dict(role: str, name: str, depth: Depth | None) -> dict[str, object]:
    counts = {} if depth is None else asdict(depth)
    return {"role": role, "name": name, "exists": depth is not None, **counts}


def _cells(name: str, depth: Depth | None) -> tuple[str, str, str]:
    if depth is None:
        return safe(name), "no such queue", "-"
    about = "" if depth.exact else "~"
    visible, in_flight = (
        "unknown" if n is None else f"{about}{n:,}" for n in (depth.visible, depth.in_flight)
    )
    return safe(name), visible, in_flight


@dataclass(frozen=True, slots=True)
class Sampled:
    """A message of the task queue, received for a look and handed back.

    Attributes:
        message_id: the provider's name for it.
        attempt: the number of this delivery; None: the provider doesn't count.
        task_id: of its task; None: it holds no task.
        data: the first characters of the task's data, or of the body if it holds no task.
    """

    message_id: str
    attempt: int | None
    task_id: str | None
    data: str


def sample(job: JobQueues, n: int) -> list[Sampled]:
    """Receive up to *n* messages of the task queue and hand them back.

    Raises:
        QueueError: the queue can't be used.
    """
    patience = {"receive": _PATIENCE}
    queue = job.provider.queue(job.name)
    with opened(queue, threading.Event(), notify=_print_trouble, budgets=patience) as queue:
        received: list[Message] = []
        try:
            while len(received) < n:
                messages = queue.receive(n - len(received), wait=_WAIT, lease=_LEASE)
                if not messages:
                    break
                received += messages
            return [_sampled(message) for message in received]
        finally:
            if received:
                queue.release(received)


def _print_trouble(text: str) -> None:
    print(safe(text, 1000), file=sys.stderr)


def _sampled(message: Message) -> Sampled:
    text = message.body.decode("utf-8", "replace")
    task_id = None
    try:
        task = json.loads(text)
        task_id, text = str(task["task_id"]), json.dumps(task["data"], ensure_ascii=False)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass  # no task: the body is shown as it is
    return Sampled(message.message_id, message.attempt, task_id, text[:_SHOWN])


def _print_sample(found: list[Sampled]) -> None:
    print()
    if not found:
        print("no message could be received")
        return
    print_table(
        ("message", "attempt", "task_id", "data"),
        [
            (
                safe(message.message_id),
                "unknown" if message.attempt is None else str(message.attempt),
                "-" if message.task_id is None else safe(message.task_id, 80),
                safe(message.data),
            )
            for message in found
        ],
    )
