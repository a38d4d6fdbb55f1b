"""Sort the error codes of SQS: try again, give up, or one message only has failed.

Messages about credentials never quote the provider: its text about a wrong signature holds the
request's headers, among them the session token.
"""

from __future__ import annotations

from cloud_tasks.errors import QueueError, QueueMissingError, QueueRefusedError
from cloud_tasks.errors import QueueUnavailableError as Unavailable

#: HTTP statuses that mean "try again later", whatever the code.
_TOO_MANY, _SERVER_FAULT = 429, 500
#: Characters of a provider's message that are quoted.
_MAX_QUOTE = 300

_TRANSIENT = frozenset(
    {
        "BandwidthLimitExceeded",
        "InternalError",
        "InternalFailure",
        "KmsThrottled",
        "LimitExceededException",
        "OverLimit",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
_MISSING = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
_EXISTS = frozenset({"QueueAlreadyExists", "QueueNameExists"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "KmsAccessDenied"})
_CREDENTIALS = frozenset(
    {
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_LOST = frozenset({"MessageNotInflight", "ReceiptHandleIsInvalid"})
_ABOUT_A_MESSAGE = _LOST | {
    "BatchRequestTooLong",
    "InvalidMessageContents",
    "InvalidParameterValue",
}
_WAIT = {
    "PurgeQueueInProgress": "{place} was purged less than 60 s ago: wait 60 s and try again",
    "QueueDeletedRecently": (
        "{place} was deleted less than 60 s ago: wait 60 s before you create it again"
    ),
}


class MessageRefusedError(QueueRefusedError):
    """A request was refused because of a message in it, not because of the queue."""


class QueueExistsError(QueueRefusedError):
    """There is a queue of that name with other settings already."""


def plain(code: str) -> str:
    """Return *code* without the namespace that some protocols put before it."""
    return code.rpartition("#")[2].rpartition(".")[2]


def is_lost(code: str, message: str, *, sender_fault: bool = False) -> bool:
    """Tell whether an entry of a batch that failed with *code* must not be tried again."""
    name = plain(code)
    if name in _LOST or (name == "InvalidParameterValue" and "expired" in message):
        return True
    return sender_fault and name not in _TRANSIENT


def queue_error(code: str, message: str, status: int, place: str) -> QueueError:
    """Return the error for an error response of SQS; *place* describes queue and server."""
    name = plain(code)
    if name in _WAIT:
        return Unavailable(_WAIT[name].format(place=place))
    if name in _EXPIRED:
        return Unavailable(f"the AWS credentials for {place} have expired ({name}): renew them")
    if name == str(status):
        # SQS names each of its errors: this is one of a proxy, or of the login page of a network.
        # Its text is a page, so it is not quoted.
        if status >= _SERVER_FAULT:
            return Unavailable(f"{place} can't be used now (HTTP {status})")
        return Unavailable(
            f"what answers for {place} is no SQS (HTTP {status}): a proxy or a login page is in "
            "the way, or the endpoint is wrong"
        )
    if name in _TRANSIENT or status == _TOO_MANY or status >= _SERVER_FAULT:
        return Unavailable(f"{place} can't be used now ({name}, HTTP {status}){_quote(message)}")
    return _refusal(name, message, place)


def _refusal(name: str, message: str, place: str) -> QueueRefusedError:
    if name in _MISSING:
        return QueueMissingError(
            f"there is no {place}: create it with `cloud_tasks load_queue`, "
            "or correct the queue's name or the region"
        )
    if name in _CREDENTIALS:
        return QueueRefusedError(
            f"AWS does not accept the credentials for {place} ({name}): correct them"
        )
    if name in _DENIED:
        return QueueRefusedError(
            f"no permission to use {place} so: give the user or role the rights that the page "
            f'"Queues on AWS" lists{_quote(message)}'
        )
    kind: type[QueueRefusedError] = QueueRefusedError
    if name in _ABOUT_A_MESSAGE:
        kind = MessageRefusedError
    elif name in _EXISTS:
        kind = QueueExistsError
    return kind(f"{place} refuses the request ({name}){_quote(message)}")


def _quote(message: str) -> str:
    words = " ".join(message.split())
    return f"; SQS says: {words[:_MAX_QUOTE]}" if words else ""
