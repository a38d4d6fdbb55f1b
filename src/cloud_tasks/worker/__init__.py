"""The program that a user writes around one function.

``from cloud_tasks.worker import Worker, WorkerData`` is all that it needs.
"""

from cloud_tasks.worker.worker import Worker
from cloud_tasks.worker_data import WorkerData

__all__ = ["Worker", "WorkerData"]
