"""The names of the queues that belong to a job: apart, as settings need them without the rest."""

from __future__ import annotations


def events_name(name: str) -> str:
    """Return the name of the queue for the events of the tasks in queue *name*."""
    return f"{name}-events"


def dead_name(name: str) -> str:
    """Return the name of the queue for the tasks of queue *name* that were given up."""
    return f"{name}-dead"
