"""Google's library: its clients, made when they are first needed.

No other module knows the library. Of its clients we take the generated ones, where one call is one
request: they start no threads, hold no messages back, and repeat nothing when told so.
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
from cloud_tasks.queues.pubsub.errors import (
    CallError,
    Side,
    explained,
    no_credentials,
    no_library,
)
from cloud_tasks.queues.pubsub.names import Names

#: Seconds for a request that nothing keeps waiting.
TIMEOUT = 5.0

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # After an outage gRPC would wait up to two minutes before it tries to connect again, and a
    # try that nobody answers would last for 20 s.
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.min_reconnect_backoff_ms", 5000),
    # A connection that went silent is given up after 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
#: Seconds that the machine's metadata server may take for an answer, and how many tries it has.
_METADATA_TIMEOUT, _METADATA_TRIES = 1.0, 2

_importing = threading.Lock()


class Connection:
    """The way to the topic and the subscription of one queue.

    Nothing is imported or connected before the first request. Requests block; they raise what
    :class:`~cloud_tasks.queues.base.MessageQueue` raises, but for those that say otherwise.

    Args:
        names: of the queue.
        endpoint_url: of another server that speaks the protocol: ``host:port``, ``http://…`` or
            ``https://…``; None: the environment's ``PUBSUB_EMULATOR_HOST``, else Google's.
    """

    def __init__(self, names: Names, endpoint_url: str | None = None) -> None:
        self.names = names
        #: By the monotonic clock: when the service last answered.
        self.heard = time.monotonic()
        self._endpoint_url = endpoint_url
        self._lock = threading.Lock()
        self._clients: dict[Side, Any] = {}
        self._credentials: Any = None
        self._closed = False

    def request(
        self, side: Side, method: str, fields: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> Any:
        """Make one request, and return the service's answer."""
        try:
            return self.call(side, method, fields, timeout=timeout)
        except CallError as error:
            raise explained(error, self.names, side) from error

    def call(
        self, side: Side, method: str, fields: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> Any:
        """Make one request, and return the service's answer.

        Raises:
            CallError: the answer is an error.
        """
        client = self._client(side)
        library = _library()
        try:
            answer = getattr(client, method)(request=dict(fields), retry=None, timeout=timeout)
        except library.exceptions.GoogleAPICallError as error:
            failed = _call_error(error)
            if not failed.is_transient:
                self.heard = time.monotonic()
            raise failed from error
        except library.auth_exceptions.GoogleAuthError as error:
            raise self._refused(error) from error
        except ValueError as error:  # gRPC's word for a channel that was closed meanwhile
            if self._closed:
                raise self._over() from error
            raise
        self.heard = time.monotonic()
        return answer

    def close(self) -> None:
        """End the connections; requests under way fail. Idempotent."""
        with self._lock:
            self._closed = True
            clients, self._clients = self._clients, {}
        for client in clients.values():
            client.transport.close()

    def _over(self) -> QueueUnavailableError:
        return QueueUnavailableError(
            f"the connection to Pub/Sub for queue {self.names.queue!r} was closed"
        )

    def _client(self, side: Side) -> Any:
        with self._lock:
            if self._closed:
                raise self._over()
            if side not in self._clients:
                self._clients[side] = self._made(side)
            return self._clients[side]

    def _made(self, side: Side) -> Any:
        library = _library()
        client = library.publisher if side == "topic" else library.subscriber
        transport = client.get_transport_class("grpc")
        target, plain = _target(self._endpoint_url)
        if plain:
            # A proxy for the web would hardly know the way to this machine or its neighbour.
            options = [*_CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0)]
            channel = library.grpc.insecure_channel(target, options=options)
            return client(transport=transport(channel=channel))

        def channel_with_options(*args: Any, options: Any = (), **kwargs: Any) -> Any:
            options = [*options, *_CHANNEL_OPTIONS]
            return transport.create_channel(*args, options=options, **kwargs)

        if self._credentials is None:
            self._credentials = self._found_credentials()
        given = {"credentials": self._credentials, "channel": channel_with_options}
        if target:
            given["host"] = target
        return client(transport=transport(**given, always_use_jwt_access=True))

    def _found_credentials(self) -> Any:
        library = _library()
        try:
            credentials, _ = library.auth.default(
                default_scopes=library.scopes, request=library.hasty_request()
            )
        except (library.auth_exceptions.GoogleAuthError, _SilentMetadataError) as error:
            raise self._refused(error) from error
        return credentials

    def _refused(self, error: Exception) -> QueueError:
        """Return what *error*, met on the way to credentials, means."""
        library = _library().auth_exceptions
        silent = isinstance(error, _SilentMetadataError)
        if (silent and _is_google_machine()) or isinstance(error, library.TransportError):
            return QueueUnavailableError(
                f"the credentials for Pub/Sub queue {self.names.queue!r} can't be had now: {error}"
            )
        missing = silent or (
            isinstance(error, library.DefaultCredentialsError)
            and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        )
        return no_credentials(self.names, None if missing else str(error))


class _SilentMetadataError(Exception):
    """The machine's metadata server does not answer, if there is one at all."""


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the library from talking on standard error."""
    # gRPC reads this when it is imported, and would report each process that we start.
    ours = "GRPC_VERBOSITY" not in os.environ
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        with warnings.catch_warnings():
            # To the users of older Pythons it tells what it will not support.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if ours:
            os.environ.pop("GRPC_VERBOSITY", None)


@cache
def _library() -> Any:
    """Import Google's library, which takes half a second.

    Raises:
        QueueRefusedError: it isn't installed.
    """
    with _importing, _quietly():
        try:
            import google.auth
            import google.auth.exceptions
            import google.auth.transport.requests
            import grpc
            from google.api_core import exceptions
            from google.pubsub_v1 import PublisherClient, SubscriberClient
        except ImportError as error:
            raise no_library() from error

    class HastyRequest(google.auth.transport.requests.Request):
        """Asks the metadata server less patiently than the library, which takes 12 s."""

        tries = 0

        def __call__(self, url: str, *args: Any, **kwargs: Any) -> Any:
            ask: Any = super().__call__
            if "metadata-flavor" not in (kwargs.get("headers") or {}):
                return ask(url, *args, **kwargs)
            kwargs["timeout"] = _METADATA_TIMEOUT
            try:
                return ask(url, *args, **kwargs)
            except google.auth.exceptions.TransportError as error:
                self.tries += 1
                if self.tries < _METADATA_TRIES:
                    raise
                raise _SilentMetadataError("the metadata server does not answer") from error

    return SimpleNamespace(
        auth=google.auth,
        auth_exceptions=google.auth.exceptions,
        exceptions=exceptions,
        grpc=grpc,
        hasty_request=HastyRequest,
        publisher=PublisherClient,
        subscriber=SubscriberClient,
        scopes=PublisherClient.get_transport_class("grpc").AUTH_SCOPES,
    )


def _call_error(error: Any) -> CallError:
    code = error.grpc_status_code
    verdicts = {
        ack_id: verdict
        for detail in error.details
        for ack_id, verdict in getattr(detail, "metadata", {}).items()
        if verdict.startswith(("PERMANENT_FAILURE_", "TRANSIENT_FAILURE_"))
    }
    return CallError(code.name if code else "UNKNOWN", error.message or str(error), verdicts)


def _target(endpoint_url: str | None) -> tuple[str | None, bool]:
    """Return host and port, None for Google's, and whether to talk without TLS and credentials."""
    if endpoint_url is None:
        emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
        return (emulator, True) if emulator else (None, False)
    url = endpoint_url if "://" in endpoint_url else f"//{endpoint_url}"
    with contextlib.suppress(ValueError):  # a port or an IPv6 address that is none
        parts = urlsplit(url)
        if parts.scheme in ("", "http", "https") and parts.hostname and parts.port != 0:
            plain = parts.scheme == "http" or (not parts.scheme and _is_here(parts.hostname))
            return parts.netloc, plain
    raise QueueRefusedError(
        f"the endpoint {endpoint_url!r} is no place of a Pub/Sub server: give host:port, "
        "http://host:port or https://host:port"
    )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_google_machine() -> bool:
    try:
        return Path("/sys/class/dmi/id/product_name").read_text().startswith("Google")
    except OSError:
        return False
