"""Translate the errors of Pub/Sub into ours, with sentences that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from cloud_tasks.errors import (
    QueueError,
    QueueMissingError,
    QueueRefusedError,
    QueueUnavailableError,
)
from cloud_tasks.queues.pubsub.names import Names

#: Subject of a request, called as in Names; each has an SDK client of its own.
Side: TypeAlias = Literal["topic", "subscription"]

#: gRPC's names of errors after which trying again may help.
_TRANSIENT = {
    "ABORTED",
    "CANCELLED",
    "DATA_LOSS",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "UNKNOWN",
}
_PLUGIN_FAILED = "Getting metadata from plugin failed"
#: Texts of a failed request for a token after which trying again is no use.
_TOKEN_REFUSED = (
    "invalid_",
    "unauthorized_",
    "Reauthentication",
    "Status: 403",
    "Status: 404",
)
#: Characters of the service's message that are quoted.
_MAX_QUOTE = 300
_ROLES = {
    "topic": "roles/pubsub.publisher and roles/pubsub.viewer",
    "subscription": "roles/pubsub.subscriber and roles/pubsub.viewer",
}


class CallError(Exception):
    """Error response of the service; never leaves this package.

    Attributes:
        code: gRPC's name of the error, such as ``NOT_FOUND``.
        text: the service's message.
        failed_ids: reasons by ack id, where the service says which deliveries of an exactly-once
            subscription failed.
    """

    def __init__(self, code: str, text: str, failed_ids: Mapping[str, str] | None = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.failed_ids = dict(failed_ids or {})

    @property
    def is_transient(self) -> bool:
        """True if trying again may help."""
        return self.code in _TRANSIENT and not self.has_no_token

    @property
    def has_no_token(self) -> bool:
        """True if no token can be had, which the library reports as an unavailable service."""
        return _PLUGIN_FAILED in self.text and any(mark in self.text for mark in _TOKEN_REFUSED)


class NoPermissionError(QueueRefusedError):
    """The account has no permission for a request; callers may do without its answer."""


def to_queue_error(error: CallError, names: Names, side: Side) -> QueueError:
    """Return the error to raise for *error* about one side of the queue of *names*."""
    short = getattr(names, side).rpartition("/")[2]
    where = f"{side} {short!r} of queue {names.queue!r} in project {names.project!r}"
    detail = error.text[:_MAX_QUOTE].rstrip(". ")
    if error.code == "NOT_FOUND":
        return QueueMissingError(
            f"Pub/Sub has no {where}: create the queue with `cloud_tasks load_queue`, or check its "
            f"name and the project ({detail})"
        )
    if error.code == "PERMISSION_DENIED":
        return NoPermissionError(
            f"Pub/Sub denies this account the {where}: give it {_ROLES[side]}, to set up queues "
            f"roles/pubsub.editor, or check the project ({detail})"
        )
    if error.code == "UNAUTHENTICATED" or error.has_no_token:
        return QueueRefusedError(
            f"Pub/Sub does not accept the credentials for the {where}: renew them with `gcloud "
            "auth application-default login`, or check GOOGLE_APPLICATION_CREDENTIALS or the "
            f"machine's service account ({detail})"
        )
    if error.is_transient:
        return QueueUnavailableError(f"Pub/Sub can't be used now for the {where}: {detail}")
    return QueueRefusedError(f"Pub/Sub refuses a request for the {where}: {detail}")


def check_fit(subscription: Any, names: Names) -> None:
    """Check that a worker gets the messages of *subscription*, and all of them.

    Raises:
        QueueRefusedError: it gets none, or only some.
    """
    anew = "delete the queue and create it again with `cloud_tasks load_queue`"
    short = names.subscription.rpartition("/")[2]
    if subscription.detached:
        what, remedy = "is detached from its topic, so it gets no message", anew
    elif subscription.filter:
        what = f"has a filter ({subscription.filter[:_MAX_QUOTE]}), so it drops tasks"
        remedy = f"a filter can't be removed: {anew}"
    elif subscription.push_config.push_endpoint:
        what = "pushes its messages to an address, so a worker gets none"
        remedy = f"run `gcloud pubsub subscriptions modify-push-config {short} --push-endpoint=''`"
    elif _exports(subscription):
        what, remedy = "writes its messages into a table or bucket, so a worker gets none", anew
    else:
        return
    raise QueueRefusedError(
        f"the Pub/Sub subscription {short!r} of queue {names.queue!r} in project "
        f"{names.project!r} {what}: {remedy}"
    )


def _exports(subscription: Any) -> bool:
    return bool(subscription.bigquery_config.table or subscription.cloud_storage_config.bucket)


def no_credentials(names: Names, reason: str | None) -> QueueRefusedError:
    """Return the error for missing credentials, or for some that are unusable for *reason*."""
    where = f"Pub/Sub queue {names.queue!r} in project {names.project!r}"
    if reason is not None:
        return QueueRefusedError(
            f"the Google credentials for {where} can't be used: {reason}; correct them, or renew "
            "them with `gcloud auth application-default login`"
        )
    return QueueRefusedError(
        f"no Google credentials for {where}: looked at GOOGLE_APPLICATION_CREDENTIALS, at "
        "gcloud's own, and for this machine's metadata server; on your own machine run `gcloud "
        "auth application-default login`"
    )
