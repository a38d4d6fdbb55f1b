"""Every error that this package raises, as one tree.

::

    CloudTasksError
    ├── ConfigurationError     the settings, keywords or function can't work; nothing has run
    ├── SourceError            the source of tasks failed: missing, unreadable, cut off
    │   ├── TaskFormatError    its content is no list of tasks, or an entry of it is no task
    │   └── QueueError         a provider's queue can't be used
    │       ├── QueueUnavailableError   not now; trying again may help
    │       └── QueueRefusedError       no credentials, no right, wrong place: nothing will help
    │           └── QueueMissingError   there is no such queue
    ├── EventLogError          an event could not be made durable
    ├── HistoryError           what a run left behind is missing, or is nothing of a run
    └── ExecutorBrokenError    the executor can run no task any more

What a *task* does is never an error of the worker: it is a value, see
:mod:`cloud_tasks.outcome`. An error that ends a run carries what was done by then in
``summary``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from cloud_tasks.summary import RunSummary


class CloudTasksError(Exception):
    """The root of the tree.

    Attributes:
        summary: what the run had done when it ended, or None if it had not begun.
    """

    summary: RunSummary | None = None


class ConfigurationError(CloudTasksError):
    """Settings, keywords or the task function can't work; nothing has run."""


class SourceError(CloudTasksError):
    """The source of tasks failed; what it had given until then has run."""


class TaskFormatError(SourceError):
    """A source's content is not a list of tasks, or entries of it are no tasks."""


class QueueError(SourceError):
    """A provider's queue can't be used: one sentence says which, why, and what to do."""


class QueueUnavailableError(QueueError):
    """The queue can't be reached, or not so often; trying again may help."""


class QueueRefusedError(QueueError):
    """The provider refuses: no credentials, no right, wrong region or project."""


class QueueMissingError(QueueRefusedError):
    """There is no queue of that name."""


class EventLogError(CloudTasksError):
    """An event could not be made durable, so the worker stopped."""


class HistoryError(CloudTasksError):
    """What a run left behind can't be used: missing, unreadable, or nothing of a run."""


class ExecutorBrokenError(CloudTasksError):
    """The executor can run no task any more, whatever the task."""


def unreachable(value: NoReturn) -> NoReturn:
    """Tell the type checker that all cases were handled (``typing.assert_never`` is 3.11+)."""
    raise AssertionError(f"unhandled case: {value!r}")
