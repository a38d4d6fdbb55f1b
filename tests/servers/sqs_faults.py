"""Answers of SQS that moto can't be made to give, put in the place of the server's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cloud_tasks.queues.sqs.client import Connection


@dataclass(frozen=True)
class _Raw:
    content: bytes

    def stream(self) -> Iterator[bytes]:
        yield self.content


@dataclass
class Fault:
    """An answer that the next requests get instead of the server's.

    Attributes:
        operation: of which requests, as AWS calls it; ``*``: of all.
        status: of HTTP.
        body: of the answer, or what makes it of that of the request.
        times: for so many requests.
        containing: for requests that contain these bytes only.
        requests: the requests that were made, whether answered so or by the server.
    """

    operation: str
    status: int
    body: dict[str, Any] | bytes | Callable[[bytes], dict[str, Any]]
    times: int = 1
    containing: bytes = b""
    requests: list[bytes] = field(default_factory=list)

    def put_into(self, connection: Connection) -> Fault:
        """Answer so on *connection* from now on."""
        events = connection.client().meta.events
        events.register_first(f"before-send.sqs.{self.operation}", self._answer)
        return self

    def _answer(self, request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        self.requests.append(request.body)
        if self.times <= 0 or self.containing not in request.body:
            return None
        self.times -= 1
        body = self.body(request.body) if callable(self.body) else self.body
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, self.status, headers, _Raw(raw))


def error(
    code: str, message: str = "", *, status: int = 400, operation: str = "*", **more: Any
) -> Fault:
    """Return a fault that is the error *code*."""
    body = {"__type": f"com.amazonaws.sqs#{code}", "message": message}
    return Fault(operation, status, body, **more)


def failed(operation: str, *entries: tuple[int, str, str, bool]) -> Fault:
    """Return a fault of parts of a batch: id, code, message and whether the sender is at fault.

    All other parts succeed.
    """
    told = [
        {"Id": str(index), "Code": code, "Message": message, "SenderFault": sender}
        for index, code, message, sender in entries
    ]

    def answer(request: bytes) -> dict[str, Any]:
        asked = {entry["Id"] for entry in json.loads(request)["Entries"]}
        done = asked - {entry["Id"] for entry in told}
        return {"Successful": [{"Id": index} for index in done], "Failed": told}

    return Fault(operation, 200, answer)
