"""Create, measure, purge and delete one queue of SQS."""

from __future__ import annotations

import contextlib
import json

from cloud_tasks.errors import QueueMissingError
from cloud_tasks.queues.base import Depth, QueueAdmin, QueueSpec
from cloud_tasks.queues.sqs import codes
from cloud_tasks.queues.sqs.client import Connection, queue_attributes, queue_url
from cloud_tasks.queues.sqs.names import FIFO, sqs_name
from cloud_tasks.queues.sqs.queue import LIMITS, read_depth

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
            answer = self._connection.request(
                "create_queue", self.name, QueueName=self.name, Attributes=attributes
            )
        except codes.QueueExistsError:  # another process created it at the same time
            return False
        if not answer.get("QueueUrl"):
            raise self._connection.no_answer(self.name, "an answer without the queue's URL")
        return True

    def depth(self) -> Depth:
        """Return the number of its messages: SQS's estimate, some seconds old."""
        return read_depth(self._connection, self.name, queue_url(self._connection, self.name))

    def creation(self) -> str:
        """Return the queue's ARN, which names region and account, and when it was created."""
        url = queue_url(self._connection, self.name)
        names = ["QueueArn", "CreatedTimestamp"]
        found = queue_attributes(self._connection, self.name, url, names)
        return " ".join(found[name] for name in names)

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
            url = queue_url(self._connection, dead)
            policy = {
                "deadLetterTargetArn": queue_attributes(self._connection, dead, url, ["QueueArn"])[
                    "QueueArn"
                ],
                "maxReceiveCount": str(spec.max_deliveries),
            }
            attributes["RedrivePolicy"] = json.dumps(policy)
        return attributes
