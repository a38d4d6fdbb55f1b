"""Provide the queues of AWS SQS."""

from __future__ import annotations

from cloud_tasks.queues.base import QueueProvider
from cloud_tasks.queues.sqs.admin import SqsAdmin
from cloud_tasks.queues.sqs.client import Connection
from cloud_tasks.queues.sqs.names import sqs_name
from cloud_tasks.queues.sqs.queue import LIMITS, SqsQueue


class SqsProvider(QueueProvider):
    """Queues of SQS, in the region and account of the SDK's own settings.

    Args:
        project_id: ignored, because SQS has no projects.
        endpoint_url: address of another server that speaks the protocol of SQS.
        exactly_once: the queues are FIFO queues, and their names end in ``.fifo``.

    Attributes:
        connection: shared by all queues and admins of this provider.
    """

    limits = LIMITS

    def __init__(
        self,
        *,
        project_id: str | None = None,
        endpoint_url: str | None = None,
        exactly_once: bool = False,
    ) -> None:
        super().__init__(
            project_id=project_id, endpoint_url=endpoint_url, exactly_once=exactly_once
        )
        self.connection = Connection(endpoint_url)

    def queue(self, name: str) -> SqsQueue:
        """Return the queue that users call *name*; makes no request."""
        return SqsQueue(self._sqs_name(name), self.connection)

    def admin(self, name: str) -> SqsAdmin:
        """Return the administration of the queue that users call *name*; makes no request."""
        return SqsAdmin(self._sqs_name(name), self.connection)

    def _sqs_name(self, name: str) -> str:
        return sqs_name(name, fifo=self.exactly_once)
