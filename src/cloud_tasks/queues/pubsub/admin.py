"""Create, purge and delete the topic and the subscription of a queue."""

from __future__ import annotations

import datetime
import secrets
from typing import Any

from cloud_tasks.errors import QueueMissingError, QueueRefusedError
from cloud_tasks.queues.base import Depth, QueueAdmin, QueueSpec
from cloud_tasks.queues.pubsub.client import TIMEOUT, Connection
from cloud_tasks.queues.pubsub.errors import CallError, Side, check_fit, to_queue_error
from cloud_tasks.queues.pubsub.names import Names
from cloud_tasks.queues.pubsub.queue import clipped

#: Limits of the service for keeping an unread message, in seconds: 10 minutes to 31 days.
_MIN_RETENTION, _MAX_RETENTION = 600, 31 * 86400
#: Longest retention of servers that know the former limit only, such as the emulator.
_OLD_MAX_RETENTION = 7 * 86400
_MIN_DELIVERIES, _MAX_DELIVERIES = 5, 100
#: Seconds for creating and deleting, which takes the service longer than handling a message.
_SETUP_TIMEOUT = 2 * TIMEOUT
#: Label of a subscription by which it is known again, because Pub/Sub doesn't tell its age.
_CREATION = "cloud-tasks-creation"
#: Seconds by which the clocks of this machine and of the service may differ.
_CLOCK_SKEW = 60


class PubSubAdmin(QueueAdmin):
    """Administration of the queue that *connection* leads to.

    With *exactly_once* it is created to deliver each message once.
    """

    def __init__(self, connection: Connection, *, exactly_once: bool = False) -> None:
        super().__init__(connection.names.queue)
        self._connection = connection
        self._names = connection.names
        self._exactly_once = exactly_once

    def create(self, spec: QueueSpec) -> bool:
        """Create topic and subscription, and those of the dead-letter queue, if they are missing.

        The lease is clipped to 10..600 s, the retention to 10 minutes..31 days, and the number
        of deliveries to 5..100.
        """
        # Checking first lets accounts load a queue that have no permission to create one.
        created = not self._has_topic() and self._create_topic(self._names)
        if self._has_subscription():
            return created
        if spec.counted:
            # Before the queue's own, so that it gets every message that the queue gets.
            self._create_subscription(self._names, self._names.count, spec)
        dead_letter_policy = None
        if spec.dead_letter is not None:
            dead = self._names.of(spec.dead_letter)
            # A topic without a subscription keeps no messages.
            self._create_topic(dead)
            self._create_subscription(dead, dead.subscription, spec)
            attempts = min(max(spec.max_deliveries, _MIN_DELIVERIES), _MAX_DELIVERIES)
            dead_letter_policy = {
                "dead_letter_topic": dead.topic,
                "max_delivery_attempts": attempts,
            }
        subscription = self._names.subscription
        own = self._create_subscription(self._names, subscription, spec, dead_letter_policy)
        return own or created

    def _create_topic(self, names: Names) -> bool:
        return self._create("topic", "create_topic", {"name": names.topic})

    def _create_subscription(
        self,
        names: Names,
        subscription: str,
        spec: QueueSpec,
        dead_letter_policy: dict[str, Any] | None = None,
    ) -> bool:
        fields = {
            "name": subscription,
            "topic": names.topic,
            "ack_deadline_seconds": clipped(spec.lease),
            "labels": {_CREATION: secrets.token_hex(8)},
            "expiration_policy": {},  # never expires; the default is 31 days without use
            "enable_exactly_once_delivery": self._exactly_once and subscription != names.count,
        }
        if dead_letter_policy is not None:
            fields["dead_letter_policy"] = dead_letter_policy
        retention = min(max(spec.retention, _MIN_RETENTION), _MAX_RETENTION)
        try:
            return self._create_with_retention(fields, retention)
        except QueueRefusedError as error:
            if retention <= _OLD_MAX_RETENTION or "message_retention_duration" not in str(error):
                raise
        return self._create_with_retention(fields, _OLD_MAX_RETENTION)

    def _create_with_retention(self, fields: dict[str, Any], retention: int) -> bool:
        duration = datetime.timedelta(seconds=retention)
        fields = {**fields, "message_retention_duration": duration}
        return self._create("subscription", "create_subscription", fields)

    def _create(self, side: Side, method: str, fields: dict[str, Any]) -> bool:
        try:
            self._connection.call(side, method, fields, timeout=_SETUP_TIMEOUT)
        except CallError as error:
            if error.code == "ALREADY_EXISTS":
                return False
            raise to_queue_error(error, self._names, side) from error
        return True

    def _has_topic(self) -> bool:
        try:
            self._connection.read("topic")
        except QueueMissingError:
            return False
        return True

    def _has_subscription(self) -> bool:
        try:
            found = self._connection.read("subscription")
        except QueueMissingError:
            return False
        if found.topic != self._names.topic:
            raise QueueRefusedError(
                f"the Pub/Sub subscription of queue {self.name!r} in project "
                f"{self._names.project!r} belongs to topic {found.topic!r}, not to its own: delete "
                "the queue before you create it again"
            )
        check_fit(found, self._names)
        return True

    def depth(self) -> Depth:
        """Return unknown numbers: only Google's monitoring counts messages, minutes late."""
        self._connection.read("subscription")
        return Depth(None, None)

    def creation(self) -> str | None:
        """Return the label that ``create`` gave the subscription; None if others created it."""
        label: str | None = self._connection.read("subscription").labels.get(_CREATION)
        return label

    def purge(self) -> None:
        """Mark all messages up to now as acknowledged; the settings stay."""
        skew = datetime.timedelta(seconds=_CLOCK_SKEW)
        until = datetime.datetime.now(datetime.timezone.utc) + skew
        fields = {"subscription": self._names.subscription, "time": until}
        self._connection.request("subscription", "seek", fields, timeout=_SETUP_TIMEOUT)

    def delete(self) -> bool:
        """Delete subscriptions and topic; return False if there was none of them."""
        deleted = self._delete("subscription", self._names.subscription)
        self._delete("subscription", self._names.count)
        return self._delete("topic", self._names.topic) or deleted

    def _delete(self, side: Side, name: str) -> bool:
        fields: dict[str, Any] = {side: name}
        try:
            self._connection.request(side, f"delete_{side}", fields, timeout=_SETUP_TIMEOUT)
        except QueueMissingError:
            return False
        return True
