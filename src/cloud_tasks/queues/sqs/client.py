"""Connect to SQS. No other module imports its SDK, and no error of the SDK leaves this one."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Sequence
from typing import Any

from cloud_tasks.errors import (
    QueueError,
    QueueRefusedError,
    QueueUnavailableError,
    with_causes,
)
from cloud_tasks.queues.sqs import codes

#: Seconds that one receive may wait for a message; SQS allows no more.
LONGEST_WAIT = 20

_CONNECT_TIMEOUT = 5
#: Longer than the longest poll, because its empty answer comes only at its end.
_READ_TIMEOUT = LONGEST_WAIT + 10
#: Requests at the same time: receiving, settling, extending and sending, for three queues.
_CONNECTIONS = 10

#: Lowest HTTP status that the SDK takes for an error, and lowest of the server's own errors.
_FIRST_ERROR, _SERVER_FAULT = 300, 500

#: An error in XML: its code, and its message if that follows.
_XML_ERROR = re.compile(
    rb"<Code>\s*([\w.]+)\s*</Code>\s*(?:<Message>([ -~]*?)</Message>)?", re.ASCII
)

#: Part of the host name of AWS's own servers; messages name the region instead of these.
_AWS = ".amazonaws.com"

_NO_CREDENTIALS = (
    "no AWS credentials for {place}: there are none in the environment (AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY), none in the files ~/.aws/credentials and ~/.aws/config, and no "
    "instance or container role gives any; set them in one of these places"
)
_NO_REGION = (
    "no AWS region for {place}: set AWS_DEFAULT_REGION, or `region` in ~/.aws/config; only on "
    "an instance of EC2 is it found without"
)
_REASONS = {
    "ConnectTimeoutError": "no connection in time",
    "ConnectionClosedError": "the connection was cut",
    "ReadTimeoutError": "no answer in time",
    "ResponseParserError": "what answers there does not speak the protocol of SQS",
}


class _NoAnswerError(Exception):
    """A response that SQS can't have sent."""


class Connection:
    """Connection to one SQS server, by an SDK client made at the first request; thread-safe.

    Credentials and region come from where boto3 looks for them, the region on an EC2 instance
    also from its metadata service; without *endpoint_url* the server comes from there, too.
    """

    def __init__(self, endpoint_url: str | None = None) -> None:
        self._endpoint_url = endpoint_url
        self._client_lock = threading.Lock()
        self._client: Any = None

    def client(self) -> Any:
        """Return the SDK's client; blocks for up to some seconds the first time.

        Raises:
            ImportError: the SDK is not installed.
            Exception: any error of the SDK, if region or endpoint are wrong.
        """
        with self._client_lock:
            if self._client is None:
                self._client = _make_client(self._endpoint_url)
            return self._client

    def request(self, operation: str, queue: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the SDK's client, without retries, and return the answer.

        *queue* is its name in errors.

        Raises:
            QueueUnavailableError: trying again may help.
            QueueRefusedError: nothing will help.
        """
        try:
            answer: dict[str, Any] = getattr(self.client(), operation)(**parameters)
        except ImportError:
            raise QueueRefusedError(
                f"{self.place(queue)} needs boto3: pip install 'cloud-tasks[aws]'"
            ) from None
        except Exception as error:  # noqa: BLE001 - the SDK's errors have no common root
            # Not chained to the SDK's error, which can hold the session token and the password
            # of an endpoint: a traceback would show them.
            raise as_queue_error(error, self.place(queue)) from None
        return answer

    def no_answer(self, queue: str, what: str) -> QueueUnavailableError:
        """Return the error for a response that lacks what it must have; *what* describes it."""
        return _no_answer(self.place(queue), what)

    def place(self, queue: str) -> str:
        """Describe queue and server for messages, without user name or password of the endpoint."""
        meta = None if self._client is None else self._client.meta
        endpoint = (meta.endpoint_url if meta else self._endpoint_url) or ""
        where = f" in region {meta.region_name}" if meta else ""
        if endpoint and _AWS not in endpoint:
            where += f" at {_without_password(endpoint)}"
        return f"SQS queue {queue!r}{where}"

    def close(self) -> None:
        """Close idle connections; a later request opens new ones. Idempotent."""
        with self._client_lock:
            if self._client is not None:
                self._client.close()


def _make_client(endpoint_url: str | None) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import NoRegionError
    from botocore.session import get_session
    from botocore.utils import IMDSRegionProvider

    # A session of its own, because the default one isn't thread-safe.
    session = get_session()
    region = session.get_config_variable("region") or IMDSRegionProvider(session).provide()
    if not region:
        raise NoRegionError  # the SDK would accept an empty one
    client = boto3.session.Session(botocore_session=session).client(
        "sqs",
        region_name=region,
        endpoint_url=endpoint_url or None,
        config=Config(
            connect_timeout=_CONNECT_TIMEOUT,
            read_timeout=_READ_TIMEOUT,
            max_pool_connections=_CONNECTIONS,
            retries={"total_max_attempts": 1, "mode": "standard"},
            tcp_keepalive=True,
        ),
    )
    client.meta.events.register("before-parse.sqs", _check_response)
    return client


def _check_response(operation_model: Any, response_dict: dict[str, Any], **_: Any) -> None:
    """Raise for a response that isn't SQS's: the SDK takes it for an empty answer, or fails.

    A proxy or the login page of a network answers every request so, also with success. An error in
    XML, the older protocol of SQS, in which stand-ins of it may answer, is turned into one in JSON.

    Raises:
        _NoAnswerError: the body is no JSON object, or one about something else.
    """
    status, body = response_dict["status_code"], response_dict["body"]
    #: The names that the answer to this operation may have.
    members = getattr(operation_model.output_shape, "members", {})
    if not body and not members:
        return
    if status >= _FIRST_ERROR and (found := _XML_ERROR.search(body)) is not None:
        error = {"__type": found[1].decode(), "message": (found[2] or b"").decode()}
        response_dict["body"] = json.dumps(error).encode()
        return
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        if status >= _SERVER_FAULT:
            return  # the SDK reads no body of such a response
        answer = None
    right = isinstance(answer, dict)
    if right and answer and status < _FIRST_ERROR:
        right = not members.keys().isdisjoint(answer)
    if not right:
        kind = response_dict["headers"].get("content-type", "no type")
        raise _NoAnswerError(f"HTTP {status}, {len(body):,} bytes of {kind}")


def _no_answer(place: str, what: str) -> QueueUnavailableError:
    return QueueUnavailableError(
        f"what answers for {place} is no SQS ({_printable(what)}): a proxy or a login page is in "
        "the way, or the endpoint is wrong"
    )


def _printable(text: str) -> str:
    """Return at most 100 characters of foreign *text*, without those that a terminal obeys."""
    return "".join(character if character.isprintable() else "?" for character in text[:100])


def as_queue_error(error: Exception, place: str) -> QueueError:
    """Translate an *error* of the SDK into one of ours; *place* describes queue and server."""
    from botocore import exceptions as sdk
    from botocore.parsers import ResponseParserError

    if isinstance(error, _NoAnswerError):
        return _no_answer(place, str(error))
    if isinstance(error, sdk.ClientError):
        details = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return codes.queue_error(
            details.get("Code", "no code"), details.get("Message") or "", status, place
        )
    if isinstance(error, sdk.NoCredentialsError | sdk.PartialCredentialsError):
        return QueueRefusedError(_NO_CREDENTIALS.format(place=place))
    if isinstance(error, sdk.NoRegionError):
        return QueueRefusedError(_NO_REGION.format(place=place))
    if isinstance(error, sdk.CredentialRetrievalError | sdk.MetadataRetrievalError | RuntimeError):
        # Credentials of a role: the next request asks for them again.
        return QueueUnavailableError(f"no AWS credentials for {place} at the moment: {error}")
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in with_causes(error)):
        return QueueRefusedError(f"{place} shows a certificate that isn't valid: {_reason(error)}")
    no_answer = (
        sdk.ConnectionError,
        sdk.HTTPClientError,
        sdk.IncompleteReadError,
        ResponseParserError,
    )
    if isinstance(error, no_answer):
        return QueueUnavailableError(f"{place} can't be reached: {_reason(error)}")
    return QueueRefusedError(f"{place} can't be used: {_without_password(str(error))}")


def _reason(error: Exception) -> str:
    """Return the operating system's reason, else one of ours; the SDK's text holds the URL."""
    for cause in with_causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    kind = type(error).__name__
    return _REASONS.get(kind, kind)


def _without_password(text: str) -> str:
    """Remove user name and password from every URL in *text*, valid or not."""
    return re.sub(r"(\S*?//)?\S*@", r"\1", text)


def queue_url(connection: Connection, name: str) -> str:
    """Request the URL of the queue that SQS knows as *name*.

    Raises:
        QueueMissingError: there is no such queue.
        QueueUnavailableError: among others, the server is no SQS.
    """
    url = connection.request("get_queue_url", name, QueueName=name).get("QueueUrl")
    if not (isinstance(url, str) and url):
        raise connection.no_answer(name, "an answer without the queue's URL")
    return url


def queue_attributes(
    connection: Connection, name: str, url: str, names: Sequence[str]
) -> dict[str, str]:
    """Request the attributes *names* of the queue at *url*; returns all of them.

    Raises:
        QueueUnavailableError: among others, one is missing in the answer.
    """
    answer = connection.request(
        "get_queue_attributes", name, QueueUrl=url, AttributeNames=list(names)
    )
    found = answer.get("Attributes") or {}
    if missing := [name for name in names if not isinstance(found.get(name), str)]:
        raise connection.no_answer(name, f"an answer without {', '.join(missing)}")
    return {name: found[name] for name in names}
