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

#: Modules of the public names; the others are in ``errors``.
_HOMES = {
    "RunSummary": "cloud_tasks.summary",
    "Task": "cloud_tasks.task",
    "TaskData": "cloud_tasks.task",
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
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    module = importlib.import_module(_HOMES.get(name, "cloud_tasks.errors"))
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
