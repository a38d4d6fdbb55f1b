"""Names for a user's program: ``from cloud_tasks.worker import Worker, WorkerData``."""

from cloud_tasks.worker.worker import Worker
from cloud_tasks.worker_data import WorkerData

__all__ = ["Worker", "WorkerData"]
