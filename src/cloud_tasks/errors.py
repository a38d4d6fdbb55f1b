"""Define every error that this package raises, as one tree.

::

    CloudTasksError
    ├── ConfigurationError     the settings, keywords or function can't work; nothing has run
    ├── SourceError            the source of tasks failed: missing, unreadable, cut off
    │   ├── TaskFormatError    its content is not a list of tasks, or an entry is not a task
    │   └── QueueError         a provider's queue can't be used
    │       ├── QueueUnavailableError   temporarily; trying again may help
    │       └── QueueRefusedError       no credentials, no permission, wrong region
    │           └── QueueMissingError   there is no such queue
    ├── EventLogError          an event could not be made durable
    ├── HistoryError           the records of an earlier run are missing or not usable
    └── ExecutorBrokenError    the executor can't run tasks any more

What a *task* does is never an error of the worker: it is a value, see
:mod:`cloud_tasks.outcome`. An error that ends a run carries the counts of that run in
``summary``. No message holds a secret: ``cloud_tasks.masking`` masks it when the error is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cloud_tasks.masking import masked

if TYPE_CHECKING:
    from cloud_tasks.summary import RunSummary


class CloudTasksError(Exception):
    """The root of the tree.

    Attributes:
        summary: counts of the run that it ended; None if no run had begun.
    """

    summary: RunSummary | None = None

    def __init__(self, *args: object) -> None:
        super().__init__(*(masked(arg) if isinstance(arg, str) else arg for arg in args))


class ConfigurationError(CloudTasksError):
    """Settings, keywords or the task function can't work; nothing has run."""


class SourceError(CloudTasksError):
    """The source of tasks failed; the tasks received before have run."""


class TaskFormatError(SourceError):
    """The content of a source is not a list of tasks, or entries of it are not tasks."""


class QueueError(SourceError):
    """A provider's queue can't be used; the message says which, why, and what to do."""


class QueueUnavailableError(QueueError):
    """The queue can't be reached, or limits the rate of requests; trying again may help."""


class QueueRefusedError(QueueError):
    """The provider refuses: no credentials, no permission, wrong region or project."""


class QueueMissingError(QueueRefusedError):
    """There is no queue of that name."""


class EventLogError(CloudTasksError):
    """An event could not be made durable, so the worker stopped."""


class HistoryError(CloudTasksError):
    """The records of an earlier run are missing, unreadable, or not those of a run."""


class ExecutorBrokenError(CloudTasksError):
    """The executor can't run tasks any more, whichever they are."""


def unreachable(value: NoReturn) -> NoReturn:
    """Tell the type checker that all cases were handled (``typing.assert_never`` is 3.11+)."""
    raise AssertionError(f"unhandled case: {value!r}")


def with_causes(error: BaseException) -> list[BaseException]:
    """Return *error* and the errors that led to it, the latest first."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    return chain
