"""One queue of SQS, seen by those who set it up."""

from __future__ import annotations

import json
from typing import Any

from cloud_tasks.errors import QueueMissingError
from cloud_tasks.queues.base import Depth, QueueAdmin, QueueSpec
from cloud_tasks.queues.sqs import codes
from cloud_tasks.queues.sqs.client import Connection, queue_url
from cloud_tasks.queues.sqs.names import FIFO, sqs_name

#: What SQS takes, in seconds.
_LONGEST_LEASE = 43_200
_RETENTION = (60, 14 * 86_400)

_DEPTH = {
    "visible": ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"),
    "in_flight": ("ApproximateNumberOfMessagesNotVisible",),
}


class SqsAdmin(QueueAdmin):
    """Sets up the queue that SQS knows as *name*.

    Args:
        name: in SQS; the ending ``.fifo`` makes it one that drops repeats.
        connection: to SQS.
    """

    def __init__(self, name: str, connection: Connection) -> None:
        super().__init__(name)
        self._connection = connection

    def create(self, spec: QueueSpec) -> bool:
        """Make the queue as *spec* says; False if it was there, which leaves it as it is.

        Raises:
            QueueMissingError: the queue for messages delivered too often must be there first.
            QueueUnavailableError: among others, one of that name was deleted within the last
                60 s.
        """
        try:
            queue_url(self._connection, self.name)
        except QueueMissingError:
            pass
        else:
            return False
        attributes = self._attributes(spec)
        try:
            self._connection.request(
                "create_queue", self.name, QueueName=self.name, Attributes=attributes
            )
        except codes.QueueExistsError:  # somebody else made it at the same time
            return False
        return True

    def depth(self) -> Depth:
        """Return how many messages it holds; SQS's estimate, some seconds old."""
        names = [name for group in _DEPTH.values() for name in group]
        attributes = self._queue_attributes(self.name, names)
        counts = {
            what: sum(int(attributes.get(name, 0)) for name in group)
            for what, group in _DEPTH.items()
        }
        return Depth(counts["visible"], counts["in_flight"], exact=False)

    def purge(self) -> None:
        """Delete all its messages; takes up to 60 s, and SQS allows it once in that time."""
        url = queue_url(self._connection, self.name)
        self._connection.request("purge_queue", self.name, QueueUrl=url)

    def delete(self) -> bool:
        """Delete it and all that is in it; False if there was none.

        SQS lets no queue of that name be made within the next 60 s.
        """
        try:
            url = queue_url(self._connection, self.name)
            self._connection.request("delete_queue", self.name, QueueUrl=url)
        except QueueMissingError:
            return False
        return True

    def _attributes(self, spec: QueueSpec) -> dict[str, str]:
        shortest, longest = _RETENTION
        attributes = {
            "VisibilityTimeout": str(min(spec.lease, _LONGEST_LEASE)),
            "MessageRetentionPeriod": str(max(shortest, min(spec.retention, longest))),
        }
        fifo = self.name.endswith(FIFO)
        if fifo:
            attributes |= {
                "FifoQueue": "true",
                "ContentBasedDeduplication": "false",
                # Without these two a queue is limited to 300 requests a second.
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
