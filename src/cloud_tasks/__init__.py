"""Run one Python function over many tasks, each isolated, limited and accounted for.

The public names load on first use, so that ``import cloud_tasks`` costs next to nothing:
every child process of an executor imports this package.
"""

from __future__ import annotations

# Not typing's, here and in every module that a child process imports, because importing typing
# takes a tenth of the life of a process that runs one short task.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from cloud_tasks.errors import (
        CloudTasksError,
        ConfigurationError,
        EventLogError,
        ExecutorBrokenError,
        HistoryError,
        QueueError,
        QueueMissingError,
        QueueRefusedError,
        QueueUnavailableError,
        SourceError,
        TaskFormatError,
    )
    from cloud_tasks.summary import RunSummary
    from cloud_tasks.task import Task, TaskData
    from cloud_tasks.worker import Worker
    from cloud_tasks.worker_data import WorkerData

__version__ = "0.1.0"

_HOMES = {
    "CloudTasksError": "cloud_tasks.errors",
    "ConfigurationError": "cloud_tasks.errors",
    "EventLogError": "cloud_tasks.errors",
    "ExecutorBrokenError": "cloud_tasks.errors",
    "HistoryError": "cloud_tasks.errors",
    "QueueError": "cloud_tasks.errors",
    "QueueMissingError": "cloud_tasks.errors",
    "QueueRefusedError": "cloud_tasks.errors",
    "QueueUnavailableError": "cloud_tasks.errors",
    "RunSummary": "cloud_tasks.summary",
    "SourceError": "cloud_tasks.errors",
    "Task": "cloud_tasks.task",
    "TaskData": "cloud_tasks.task",
    "TaskFormatError": "cloud_tasks.errors",
    "Worker": "cloud_tasks.worker",
    "WorkerData": "cloud_tasks.worker_data",
}

__all__ = [
    "CloudTasksError",
    "ConfigurationError",
    "EventLogError",
    "ExecutorBrokenError",
    "HistoryError",
    "QueueError",
    "QueueMissingError",
    "QueueRefusedError",
    "QueueUnavailableError",
    "RunSummary",
    "SourceError",
    "Task",
    "TaskData",
    "TaskFormatError",
    "Worker",
    "WorkerData",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
