"""Find out whether every message of a queue is acknowledged, those that others hold included.

Pub/Sub itself counts nothing, and a receiver can't see what another one holds. But a snapshot of a
subscription records which of its messages are not acknowledged, and another subscription of the
topic can be set back to it::

    NAME-subscription ──create_snapshot──► snapshot ──seek──► NAME-count ──pull──► one message?

``NAME-count`` is created with the queue and used for nothing else: nothing is ever acknowledged
there. Several workers may do this at the same time, because a snapshot lacks no message that is
unacknowledged when a later one is made.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable

from cloud_tasks.errors import QueueError
from cloud_tasks.queues.base import Backlog
from cloud_tasks.queues.pubsub.client import TIMEOUT, Connection
from cloud_tasks.queues.pubsub.errors import CallError, to_queue_error

#: Seconds to wait for a message. An answer without one is no proof, so the result isn't exact.
_WAIT = 3.0
#: Seconds for requests that the service answers less quickly than those about messages.
_SLOW_TIMEOUT = 2 * TIMEOUT

_NO_PERMISSION = (
    "this account may not make snapshots of its subscription: give it pubsub.snapshots.create, "
    "pubsub.snapshots.seek and pubsub.snapshots.delete, which roles/pubsub.editor includes"
)


def find_backlog(connection: Connection, count: Callable[[str], None]) -> Backlog:
    """Return whether the queue of *connection* has a message that is not acknowledged: 0 or 1.

    *count* is called with ``backlog`` before each request.

    Raises:
        QueueError: the queue can't be used.
    """
    names = connection.names

    def call(method: str, timeout: float = _SLOW_TIMEOUT, **fields: object) -> object:
        count("backlog")
        return connection.call("subscription", method, fields, timeout=timeout)

    snapshot = f"projects/{names.project}/snapshots/{names.queue}-{secrets.token_hex(8)}"
    step = "create_snapshot"
    try:
        call(step, name=snapshot, subscription=names.subscription)
        try:
            step = "seek"
            call(step, subscription=names.count, snapshot=snapshot)
        finally:
            # One that stays would expire by itself within a week.
            with contextlib.suppress(QueueError, CallError):
                call("delete_snapshot", snapshot=snapshot)
    except CallError as error:
        if error.code in ("PERMISSION_DENIED", "UNIMPLEMENTED"):
            return Backlog(reason=_NO_PERMISSION)
        if error.code == "NOT_FOUND" and step == "seek":
            short = names.count.rpartition("/")[2]
            return Backlog(
                reason=f"there is no subscription {short!r} to count them by, which "
                "`cloud_tasks load_queue` makes only with a new queue"
            )
        raise to_queue_error(error, names, "subscription") from error
    found = _has_message(connection, call)
    return Backlog(int(found), at_least=found)


def _has_message(connection: Connection, call: Callable[..., object]) -> bool:
    """Return whether the subscription for counting delivers a message."""
    names = connection.names
    deadline = time.monotonic() + _WAIT
    while (left := deadline - time.monotonic()) > 0:
        try:
            # The server answers some time before the client's deadline.
            answer = call("pull", left + 1.0, subscription=names.count, max_messages=1)
        except CallError as error:
            if error.code == "DEADLINE_EXCEEDED":
                return False
            raise to_queue_error(error, names, "subscription") from error
        if received := list(getattr(answer, "received_messages", ())):
            # Other workers shall see it, too; a failure only hides it from them for ten seconds.
            with contextlib.suppress(QueueError, CallError):
                ids = [message.ack_id for message in received]
                call(
                    "modify_ack_deadline",
                    subscription=names.count,
                    ack_ids=ids,
                    ack_deadline_seconds=0,
                )
            return True
        time.sleep(min(max(0.0, deadline - time.monotonic()), 0.25))
    return False
