"""Provide the queues of AWS SQS."""

from __future__ import annotations

from functools import cached_property

from cloud_tasks.queues.base import QueueProvider
from cloud_tasks.queues.sqs.admin import SqsAdmin
from cloud_tasks.queues.sqs.client import Connection
from cloud_tasks.queues.sqs.names import name_problem, sqs_name
from cloud_tasks.queues.sqs.queue import LIMITS, SqsQueue


class SqsProvider(QueueProvider):
    """Queues of SQS, in the region and account of the SDK's own settings.

    It has no projects, so ``project_id`` is ignored. ``exactly_once`` means FIFO queues, whose
    names end in ``.fifo``.
    """

    limits = LIMITS

    @cached_property
    def connection(self) -> Connection:
        """The connection that all queues and admins of this provider share."""
        return Connection(self.endpoint_url)

    def name_problem(self, name: str) -> str | None:
        """Return why SQS takes no queue of that *name*; None if it does."""
        return name_problem(self._sqs_name(name))

    def queue(self, name: str) -> SqsQueue:
        """Return the queue that users call *name*; makes no request."""
        return SqsQueue(self._sqs_name(name), self.connection)

    def admin(self, name: str) -> SqsAdmin:
        """Return the administration of the queue that users call *name*; makes no request."""
        return SqsAdmin(self._sqs_name(name), self.connection)

    def _sqs_name(self, name: str) -> str:
        return sqs_name(name, fifo=self.exactly_once)
