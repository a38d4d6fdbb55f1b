"""Request data from the metadata service of a cloud machine: plain HTTP, one request at a time.

It uses ``http.client`` because that knows no proxies and follows no redirects. Both would send a
request, and the token in it, away from the machine.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.masking import masked
from cloud_tasks.text import given

#: The variable with the address of a stand-in for any provider; it beats the provider's own.
OVERRIDE = "RMS_CLOUD_TASKS_METADATA_ENDPOINT"
#: The address of the service at each of the three providers. Google's name for it is not used: a
#: name look-up has no time limit, and elsewhere the request would go to a foreign machine.
ADDRESS = "http://169.254.169.254"
#: Seconds that connecting, sending, and each part of the answer may take.
TIMEOUT = 2.0
#: Bytes of the longest answer.
_LARGEST = 1 << 20


class MetadataError(Exception):
    """There is no answer, or not the expected one. Probes catch it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of the service to one request, with any status."""

    path: str
    status: int
    text: str

    def content(self) -> str:
        """Return the text, stripped.

        Raises:
            MetadataError: the status isn't 200.
        """
        if self.status != 200:
            raise MetadataError(f"{self.path}: HTTP status {self.status}")
        return self.text.strip()

    def mapping(self) -> dict[str, Any]:
        """Return the JSON object in the text.

        Raises:
            MetadataError: the status isn't 200, or the text is no JSON object.
        """
        try:
            value = json.loads(self.content())
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise MetadataError(f"{self.path}: {self.text[:80]!r} is no JSON object")
        return value


class MetadataService:
    """The metadata service of this machine, or a stand-in for it.

    Its address is the first of: *address*, the variable :data:`OVERRIDE`, the provider's own
    *variable*, :data:`ADDRESS`. A variable that is empty or holds ``None`` counts as
    unset. ``http://`` may be left out.

    Raises:
        ConfigurationError: the address is none.
    """

    def __init__(self, address: str | None = None, *, variable: str | None = None) -> None:
        names = [name for name in (OVERRIDE, variable) if name]
        found = [("address", address), *((name, given(os.environ.get(name))) for name in names)]
        name, text = next(((n, t) for n, t in found if t), ("address", ADDRESS))
        #: As shown in messages.
        address = text if "://" in text else f"http://{text}"
        self.address = masked(address)
        split = _split(address)
        if split is None:
            raise ConfigurationError(
                f"{name}={text!r} is no address of a metadata service: give http://HOST:PORT"
            )
        self._host, self._port, self._prefix = split

    def ask(self, path: str, headers: Mapping[str, str], *, method: str = "GET") -> Answer:
        """Request *path*, which may hold a query; blocks for a few seconds at most.

        Raises:
            MetadataError: there was no answer, or not one of HTTP.
        """
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        try:
            connection.request(method, self._prefix + path, headers=dict(headers))
            response = connection.getresponse()
            body = response.read(_LARGEST)
            if response.length or len(body) == _LARGEST:
                raise MetadataError(f"{path}: the answer is cut off, or longer than 1 MiB")
            return Answer(path, response.status, body.decode("utf-8", "replace"))
        # ValueError: a host name that can't be encoded, a token that can't be sent.
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise MetadataError(f"{path}: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()


def _split(address: str) -> tuple[str, int, str] | None:
    """Return the host, the port and the prefix of all paths; None: *address* is none."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port or http.client.HTTP_PORT
    except ValueError:  # the port is no number, or a bracket is missing
        return None
    return (host, port, parts.path.rstrip("/")) if host and parts.scheme == "http" else None
