"""``cloud_tasks delete_queue``: the queues of a job away, with all that is in them."""

from __future__ import annotations

from cloud_tasks.cli._removing import run
from cloud_tasks.queues.job import JobQueues


def main(argv: list[str]) -> int:
    """Delete the queues that *argv* names; returns the exit code."""
    return run(
        argv,
        command="delete_queue",
        description="Delete the task queue, the event queue and the queue of given-up tasks of a "
        "job, with all that is in them. A queue that isn't there is no error.",
        verb="delete",
        remove=delete,
    )


def delete(job: JobQueues, names: list[str]) -> dict[str, bool]:
    """Delete the queues *names* of *job*; says of each whether there was one.

    Raises:
        QueueError: the provider doesn't answer, or refuses.
    """
    return {name: job.provider.admin(name).delete() for name in names}
