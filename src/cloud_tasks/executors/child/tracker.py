"""Use the worker's resource tracker in this process: the child's side of pool/shared_tracker.py."""

from __future__ import annotations

import os

from cloud_tasks.executors.child.import_hook import on_import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cloud_tasks.executors.common.worker_files import WorkerFile


def use_tracker(tracker: WorkerFile) -> None:
    """Have multiprocessing register shared memory and semaphores with the worker's *tracker*.

    Nothing is opened before the user's code imports multiprocessing.
    """
    on_import("multiprocessing.resource_tracker", lambda: _connect(tracker))


def _connect(tracker: WorkerFile) -> None:
    from multiprocessing import resource_tracker

    mine: Any = resource_tracker._resource_tracker
    if mine._fd is None:
        # As multiprocessing.spawn does in the processes that it starts: there is no public way. If
        # the worker's can't be opened, this stays None, and multiprocessing starts another.
        mine._fd = tracker.open(os.O_WRONLY)
