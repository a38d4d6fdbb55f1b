"""Create, measure, purge and delete one queue of SQS."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from cloud_tasks.errors import QueueMissingError
from cloud_tasks.queues.base import Depth, QueueAdmin, QueueSpec
from cloud_tasks.queues.sqs import codes
from cloud_tasks.queues.sqs.client import Connection, queue_url
from cloud_tasks.queues.sqs.names import FIFO, sqs_name
from cloud_tasks.queues.sqs.queue import DEPTH_ATTRIBUTES, LIMITS, depth_of

#: Limits of SQS, in seconds.
_MIN_RETENTION, _MAX_RETENTION = 60, 14 * 86_400


class SqsAdmin(QueueAdmin):
    """Administration of the queue that SQS knows as *name*; ``.fifo`` at its end drops repeats."""

    def __init__(self, name: str, connection: Connection) -> None:
        super().__init__(name)
        self._connection = connection

    def create(self, spec: QueueSpec) -> bool:
        """Create the queue; return False if it exists already, which leaves it unchanged.

        Raises:
            QueueMissingError: the dead-letter queue of *spec* must be created first.
            QueueUnavailableError: among others, a queue of that name was deleted within the last
                60 s.
        """
        with contextlib.suppress(QueueMissingError):
            queue_url(self._connection, self.name)
            return False
        attributes = self._attributes(spec)
        try:
            self._connection.request(
                "create_queue", self.name, QueueName=self.name, Attributes=attributes
            )
        except codes.QueueExistsError:  # another process created it at the same time
            return False
        return True

    def depth(self) -> Depth:
        """Return the number of its messages: SQS's estimate, some seconds old."""
        return depth_of(self._queue_attributes(self.name, list(DEPTH_ATTRIBUTES)))

    def purge(self) -> None:
        """Delete all its messages; takes effect within 60 s, and SQS allows it once in 60 s."""
        url = queue_url(self._connection, self.name)
        self._connection.request("purge_queue", self.name, QueueUrl=url)

    def delete(self) -> bool:
        """Delete the queue with its messages; return False if there was none.

        SQS lets no queue of that name be created within the next 60 s.
        """
        try:
            url = queue_url(self._connection, self.name)
            self._connection.request("delete_queue", self.name, QueueUrl=url)
        except QueueMissingError:
            return False
        return True

    def _attributes(self, spec: QueueSpec) -> dict[str, str]:
        retention = max(_MIN_RETENTION, min(spec.retention, _MAX_RETENTION))
        attributes = {
            "VisibilityTimeout": str(min(spec.lease, LIMITS.max_lease)),
            "MessageRetentionPeriod": str(retention),
        }
        fifo = self.name.endswith(FIFO)
        if fifo:
            attributes |= {
                "FifoQueue": "true",
                "ContentBasedDeduplication": "false",
                # Without these two a FIFO queue is limited to 300 requests a second.
                "DeduplicationScope": "messageGroup",
                "FifoThroughputLimit": "perMessageGroupId",
            }
        if spec.dead_letter is not None:
            dead = sqs_name(spec.dead_letter, fifo=fifo)
            policy = {
                "deadLetterTargetArn": self._queue_attributes(dead, ["QueueArn"])["QueueArn"],
                "maxReceiveCount": str(spec.max_deliveries),
            }
            attributes["RedrivePolicy"] = json.dumps(policy)
        return attributes

    def _queue_attributes(self, name: str, attributes: list[str]) -> dict[str, Any]:
        url = queue_url(self._connection, name)
        answer = self._connection.request(
            "get_queue_attributes", name, QueueUrl=url, AttributeNames=attributes
        )
        found: dict[str, Any] = answer.get("Attributes", {})
        return found
