"""Provide the queues of Google Pub/Sub."""

from __future__ import annotations

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.queues.base import QueueProvider
from cloud_tasks.queues.pubsub.admin import PubSubAdmin
from cloud_tasks.queues.pubsub.client import Connection
from cloud_tasks.queues.pubsub.names import Names
from cloud_tasks.queues.pubsub.queue import LIMITS, PubSubQueue


class PubSubProvider(QueueProvider):
    """Queues of a project: ``NAME`` is topic ``NAME-topic`` with ``NAME-subscription``.

    Raises:
        ConfigurationError: from ``queue`` and ``admin``: there is no project id.
    """

    limits = LIMITS
    required_settings = ("project_id",)

    def name_problem(self, name: str) -> str | None:
        """Return why Pub/Sub takes no queue of that *name*; None if it does."""
        return Names(name, self.project_id or "").problem

    def queue(self, name: str) -> PubSubQueue:
        """Return the queue *name* of the project."""
        return PubSubQueue(self._connection(name), exactly_once=self.exactly_once)

    def admin(self, name: str) -> PubSubAdmin:
        """Return the administration of the queue *name* of the project."""
        return PubSubAdmin(self._connection(name), exactly_once=self.exactly_once)

    def _connection(self, name: str) -> Connection:
        if not self.project_id:
            raise ConfigurationError(
                f"Pub/Sub queue {name!r} needs a project: give --project-id or set "
                "RMS_CLOUD_TASKS_PROJECT_ID"
            )
        return Connection(Names(name, self.project_id), self.endpoint_url)
