"""Connect to Pub/Sub by Google's library, imported at the first request.

No other module imports the library. Of its clients the generated ones are used, because there one
call is one request: they start no threads, keep no messages, and don't retry when told so.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from cloud_tasks.errors import QueueError, QueueRefusedError, QueueUnavailableError
from cloud_tasks.queues.pubsub.errors import CallError, Side, no_credentials, to_queue_error
from cloud_tasks.queues.pubsub.names import Names

#: Seconds for a request that the service answers at once.
TIMEOUT = 5.0

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # By default gRPC waits up to two minutes after an outage before it connects again, and an
    # attempt that gets no answer lasts for 20 s.
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.min_reconnect_backoff_ms", 5000),
    # A connection without any answer is closed after 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
#: Seconds for an answer of the machine's metadata server, and number of attempts.
_METADATA_TIMEOUT, _METADATA_ATTEMPTS = 1.0, 2

_import_lock = threading.Lock()


class Connection:
    """Connection to the topic and the subscription of one queue; thread-safe.

    Nothing is imported or connected before the first request. Requests block.

    Args:
        names: of the queue.
        endpoint_url: address of another server that speaks the protocol: ``host:port``,
            ``http://…`` or ``https://…``; None means ``PUBSUB_EMULATOR_HOST`` of the environment,
            else Google's.

    Attributes:
        last_answer: when the service last answered, by the monotonic clock.
    """

    def __init__(self, names: Names, endpoint_url: str | None = None) -> None:
        self.names = names
        self.last_answer = time.monotonic()
        self._endpoint_url = endpoint_url
        self._lock = threading.Lock()
        self._clients: dict[Side, Any] = {}
        self._credentials: Any = None
        self._closed = False

    def request(
        self, side: Side, method: str, fields: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> Any:
        """Make one request; return the answer.

        Raises:
            QueueUnavailableError: trying again may help.
            QueueRefusedError: nothing will help.
        """
        try:
            return self.call(side, method, fields, timeout=timeout)
        except CallError as error:
            raise to_queue_error(error, self.names, side) from error

    def read(self, side: Side) -> Any:
        """Request the properties of the topic or the subscription; raises as ``request``."""
        name = getattr(self.names, side)
        found = self.request(side, f"get_{side}", {side: name})
        if found.name != name:
            raise self.no_answer(f"the properties of the {side} without its name")
        return found

    def no_answer(self, what: str) -> QueueUnavailableError:
        """Return the error for an answer that lacks what it must have; *what* describes it."""
        return QueueUnavailableError(
            f"what answers for queue {self.names.queue!r} in project {self.names.project!r} is no "
            f"Pub/Sub ({what}): something is in the way, or the endpoint is wrong"
        )

    def call(
        self, side: Side, method: str, fields: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> Any:
        """Make one request; return the answer.

        Raises:
            CallError: the answer is an error.
            QueueUnavailableError, QueueRefusedError: no request could be made.
        """
        client = self._client(side)
        library = _library()
        try:
            answer = getattr(client, method)(request=dict(fields), retry=None, timeout=timeout)
        except library.exceptions.GoogleAPICallError as error:
            failed = _call_error(error)
            if not failed.is_transient:
                self.last_answer = time.monotonic()
            raise failed from error
        except library.auth_exceptions.GoogleAuthError as error:
            raise self._credentials_error(error) from error
        except ValueError as error:  # raised by gRPC if the channel was closed meanwhile
            if self._closed:
                raise self._closed_error() from error
            raise
        self.last_answer = time.monotonic()
        return answer

    def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""
        with self._lock:
            self._closed = True
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.transport.close()

    def _closed_error(self) -> QueueUnavailableError:
        return QueueUnavailableError(
            f"the connection to Pub/Sub for queue {self.names.queue!r} was closed"
        )

    def _client(self, side: Side) -> Any:
        with self._lock:
            if self._closed:
                raise self._closed_error()
            if side not in self._clients:
                self._clients[side] = self._make_client(side)
            return self._clients[side]

    def _make_client(self, side: Side) -> Any:
        library = _library()
        client = library.publisher if side == "topic" else library.subscriber
        transport = client.get_transport_class("grpc")
        target, without_tls = _target(self._endpoint_url)
        if without_tls:
            # An HTTP proxy rarely reaches this machine or its local network.
            options = [*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0)]
            channel = library.grpc.insecure_channel(target, options=options)
            return client(transport=transport(channel=channel))

        def channel_with_options(*args: Any, options: Any = (), **kwargs: Any) -> Any:
            options = [*options, *_CHANNEL_OPTIONS]
            return transport.create_channel(*args, options=options, **kwargs)

        if self._credentials is None:
            self._credentials = self._find_credentials()
        arguments = {"credentials": self._credentials, "channel": channel_with_options}
        if target:
            arguments["host"] = target
        return client(transport=transport(**arguments, always_use_jwt_access=True))

    def _find_credentials(self) -> Any:
        library = _library()
        try:
            credentials, _ = library.auth.default(
                default_scopes=library.scopes, request=library.impatient_request()
            )
        except (library.auth_exceptions.GoogleAuthError, _NoMetadataError) as error:
            raise self._credentials_error(error) from error
        return credentials

    def _credentials_error(self, error: Exception) -> QueueError:
        """Return the error to raise for *error*, which occurred while getting credentials."""
        library = _library().auth_exceptions
        silent = isinstance(error, _NoMetadataError)
        if (silent and _is_google_machine()) or isinstance(error, library.TransportError):
            return QueueUnavailableError(
                f"the credentials for Pub/Sub queue {self.names.queue!r} can't be had now: {error}"
            )
        missing = silent or (
            isinstance(error, library.DefaultCredentialsError)
            and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        )
        return no_credentials(self.names, None if missing else str(error))


class _NoMetadataError(Exception):
    """The machine's metadata server does not answer; there may be none."""


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Keep the library from writing to standard error while it is imported."""
    # gRPC reads this at its import; by default it reports every fork of this process.
    ours = "GRPC_VERBOSITY" not in os.environ
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        with warnings.catch_warnings():
            # The library warns users of older Pythons that it will drop them.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if ours:
            os.environ.pop("GRPC_VERBOSITY", None)


@cache
def _library() -> Any:
    """Import Google's library, which takes half a second; return the parts that are used.

    Raises:
        QueueRefusedError: it isn't installed.
    """
    with _import_lock, _silenced():
        try:
            import google.auth
            import google.auth.exceptions
            import google.auth.transport.requests
            import grpc
            from google.api_core import exceptions
            from google.pubsub_v1 import PublisherClient, SubscriberClient
        except ImportError as error:
            raise QueueRefusedError(
                "Pub/Sub needs Google's library: install it with `pip install 'cloud-tasks[gcp]'`"
            ) from error

    class ImpatientRequest(google.auth.transport.requests.Request):
        """A request that gives up on the metadata server in 2 s; the library takes 12 s."""

        attempts = 0

        def __call__(self, url: str, *args: Any, **kwargs: Any) -> Any:
            request: Any = super().__call__
            if "metadata-flavor" not in (kwargs.get("headers") or {}):
                return request(url, *args, **kwargs)
            kwargs["timeout"] = _METADATA_TIMEOUT
            try:
                return request(url, *args, **kwargs)
            except google.auth.exceptions.TransportError as error:
                self.attempts += 1
                if self.attempts < _METADATA_ATTEMPTS:
                    raise
                raise _NoMetadataError("the metadata server does not answer") from error

    return SimpleNamespace(
        auth=google.auth,
        auth_exceptions=google.auth.exceptions,
        exceptions=exceptions,
        grpc=grpc,
        impatient_request=ImpatientRequest,
        publisher=PublisherClient,
        subscriber=SubscriberClient,
        scopes=PublisherClient.get_transport_class("grpc").AUTH_SCOPES,
    )


def _call_error(error: Any) -> CallError:
    code = error.grpc_status_code
    failed_ids = {
        ack_id: reason
        for detail in error.details
        for ack_id, reason in getattr(detail, "metadata", {}).items()
        if reason.startswith(("PERMANENT_FAILURE_", "TRANSIENT_FAILURE_"))
    }
    return CallError(code.name if code else "UNKNOWN", error.message or str(error), failed_ids)


def _target(endpoint_url: str | None) -> tuple[str | None, bool]:
    """Return host and port, None for Google's, and whether to go without TLS and credentials."""
    if endpoint_url is None:
        emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
        return (emulator, True) if emulator else (None, False)
    url = endpoint_url if "://" in endpoint_url else f"//{endpoint_url}"
    with contextlib.suppress(ValueError):  # an invalid port or IPv6 address
        parts = urlsplit(url)
        if parts.scheme in ("", "http", "https") and parts.hostname and parts.port != 0:
            is_plain = parts.scheme == "http"
            return parts.netloc, is_plain or (not parts.scheme and _is_local(parts.hostname))
    raise QueueRefusedError(
        f"the endpoint {endpoint_url!r} is no address of a Pub/Sub server: give host:port, "
        "http://host:port or https://host:port"
    )


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_google_machine() -> bool:
    try:
        return Path("/sys/class/dmi/id/product_name").read_text().startswith("Google")
    except OSError:
        return False
