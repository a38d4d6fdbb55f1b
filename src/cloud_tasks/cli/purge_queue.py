"""``cloud_tasks purge_queue``: all messages of a job's queues away, the queues stay."""

from __future__ import annotations

from cloud_tasks.cli._removing import run
from cloud_tasks.errors import QueueMissingError
from cloud_tasks.queues.job import JobQueues


def main(argv: list[str]) -> int:
    """Empty the queues that *argv* names; returns the exit code."""
    return run(
        argv,
        command="purge_queue",
        description="Delete all messages of the task queue, the event queue and the queue of "
        "given-up tasks of a job; the queues stay. The provider may take a minute for it.",
        verb="purge",
        remove=purge,
    )


def purge(job: JobQueues, names: list[str]) -> dict[str, bool]:
    """Empty the queues *names* of *job*; says of each whether there was one.

    Raises:
        QueueMissingError: there was none of them.
        QueueError: the provider doesn't answer, or refuses.
    """
    done = {}
    first: QueueMissingError | None = None
    for name in names:
        try:
            job.provider.admin(name).purge()
            done[name] = True
        except QueueMissingError as error:
            first = first or error
            done[name] = False
    if first is not None and not any(done.values()):
        raise first
    return done
