"""What the answers of the service mean, in our errors and in a user's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from cloud_tasks.errors import (
    QueueError,
    QueueMissingError,
    QueueRefusedError,
    QueueUnavailableError,
)
from cloud_tasks.queues.pubsub.names import Names

#: What a request is about; each has a client of its own.
Side: TypeAlias = Literal["topic", "subscription"]

#: gRPC's names for what may be better next time.
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
#: In the text of a failed request for a token: trying again is no use.
_HOPELESS = ("invalid_", "unauthorized_", "Reauthentication", "Status: 403", "Status: 404")
_LONGEST_QUOTE = 300
_ROLES = {
    "topic": "roles/pubsub.publisher and roles/pubsub.viewer",
    "subscription": "roles/pubsub.subscriber and roles/pubsub.viewer",
}


class CallError(Exception):
    """The service answered a request with an error; never leaves this package.

    Attributes:
        code: gRPC's name for it, ``NOT_FOUND`` for one.
        text: in the service's words.
        verdicts: which ids the request failed for, and why, where the service tells.
    """

    def __init__(self, code: str, text: str, verdicts: Mapping[str, str] | None = None) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.verdicts = dict(verdicts or {})

    @property
    def is_transient(self) -> bool:
        """True if trying again may help."""
        return self.code in _TRANSIENT and not self.is_hopeless

    @property
    def is_hopeless(self) -> bool:
        """True if there will be no token, which the library reports as a service that is away."""
        return _PLUGIN_FAILED in self.text and any(mark in self.text for mark in _HOPELESS)


class NoRightError(QueueRefusedError):
    """The account may not do what it asked for, which it may not need."""


def explained(error: CallError, names: Names, side: Side) -> QueueError:
    """Return the error to raise for *error* about one side of the queue of *names*."""
    path = names.topic if side == "topic" else names.subscription
    short = path.rpartition("/")[2]
    where = f"{side} {short!r} of queue {names.queue!r} in project {names.project!r}"
    said = error.text[:_LONGEST_QUOTE].rstrip(". ")
    if error.code == "NOT_FOUND":
        return QueueMissingError(
            f"Pub/Sub has no {where}: create the queue with `cloud_tasks load_queue`, or check its "
            f"name and the project ({said})"
        )
    if error.code == "PERMISSION_DENIED":
        return NoRightError(
            f"Pub/Sub denies this account the {where}: give it {_ROLES[side]}, to set up queues "
            f"roles/pubsub.editor, or check the project ({said})"
        )
    if error.code == "UNAUTHENTICATED" or error.is_hopeless:
        return QueueRefusedError(
            f"Pub/Sub does not accept the credentials for the {where}: renew them with `gcloud "
            "auth application-default login`, or check GOOGLE_APPLICATION_CREDENTIALS or the "
            f"machine's service account ({said})"
        )
    if error.is_transient:
        return QueueUnavailableError(f"Pub/Sub can't be used now for the {where}: {said}")
    return QueueRefusedError(f"Pub/Sub refuses a request for the {where}: {said}")


def no_credentials(names: Names, said: str | None) -> QueueRefusedError:
    """Return the error for credentials that are missing, or can't be used as *said*."""
    where = f"Pub/Sub queue {names.queue!r} in project {names.project!r}"
    if said is not None:
        return QueueRefusedError(
            f"the Google credentials for {where} can't be used: {said}; mend them, or renew them "
            "with `gcloud auth application-default login`"
        )
    return QueueRefusedError(
        f"no Google credentials for {where}: looked at GOOGLE_APPLICATION_CREDENTIALS, at "
        "gcloud's own, and for this machine's metadata server; on your own machine run `gcloud "
        "auth application-default login`"
    )


def no_library() -> QueueRefusedError:
    """Return the error for a library that isn't installed."""
    return QueueRefusedError(
        "Pub/Sub needs Google's library: install it with `pip install 'cloud-tasks[gcp]'`"
    )
