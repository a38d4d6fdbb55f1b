"""Choose the source for a program's ``task_source`` or task file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.sources.base import TaskSource
from cloud_tasks.sources.files.fetching import is_fcpath
from cloud_tasks.sources.files.task_file import TaskFileSource
from cloud_tasks.sources.iterable import IterableSource


def make_source(task_source: Any, *, task_format: str | None = None) -> TaskSource:
    """Return the source for *task_source*; nothing is opened or called yet.

    Args:
        task_source: the name of a task file (``-`` is standard input), a ``pathlib.Path``, a
            ``filecache.FCPath``, or a function that returns an iterable of tasks.
        task_format: one of ``sources.files.task_file.FORMATS``, for a task file without a known
            suffix.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(task_source, (str, Path)) or is_fcpath(task_source):
        return TaskFileSource(task_source, task_format=task_format)
    if callable(task_source):
        return IterableSource(task_source)
    hint = ""
    if hasattr(task_source, "__iter__"):
        hint = "; for an iterable, give the function that makes it (lambda: tasks)"
    raise ConfigurationError(
        f"task_source is an object of type {type(task_source).__name__}: expected a file name, "
        f"a pathlib.Path, a filecache.FCPath, or a function that returns tasks{hint}"
    )
