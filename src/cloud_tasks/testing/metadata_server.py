"""Fake the metadata services of the three providers on 127.0.0.1.

It is as strict about tokens and headers as they are. Methods give notices and inject faults::

    with MetadataServer() as server:
        probe = AwsProbe(address=server.address)
        server.interrupt("terminate", seconds=120)
"""

from __future__ import annotations

import contextlib
import enum
import json
import secrets
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: HTTP status and text.
Answer = tuple[int, str]

_TOKEN = "/latest/api/token"
_AWS = "/latest/meta-data/"
_GCP = "/computeMetadata/v1/instance/"
_AZURE = "/metadata/"
_EVENTS = f"{_AZURE}scheduledevents"
INSTANCE_ID = "i-0123456789abcdef0"
#: Name of the machine on Azure.
NAME = "workers_7"


class Fault(enum.Enum):
    """A reaction of the service in place of an answer."""

    ERROR = "answers with status 500"
    GARBAGE = "answers with status 200 and bytes that mean nothing"
    STALL = "takes the request and says nothing"
    HANG_UP = "takes the request and closes the connection"


class MetadataServer:
    """A server for all three providers at once, in its own thread; a context manager.

    Attributes:
        requests: the requests so far, in order, such as ``PUT /latest/api/token``.
        texts: the answers, by path without a query; other paths are 404. Tests may change it.
        fault: the reaction to the next requests; None: answer.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.texts: dict[str, str] = {
            f"{_AWS}instance-id": INSTANCE_ID,
            f"{_GCP}id": "4711",
            f"{_GCP}name": NAME,
            f"{_GCP}preempted": "FALSE",
            f"{_GCP}maintenance-event": "NONE",
            f"{_AZURE}instance/compute/vmId": "8d0f0c5e-0000-4000-8000-000000000007",
            f"{_AZURE}instance/compute/name": NAME,
            _EVENTS: json.dumps({"DocumentIncarnation": 1, "Events": []}),
        }
        self.fault: Fault | None = None
        self._tokens: set[str] = set()
        self._released = threading.Event()
        self._server: _Server | None = None
        self._port = 0

    def __enter__(self) -> MetadataServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The URL, for probes and ``RMS_CLOUD_TASKS_METADATA_ENDPOINT``; a restart keeps it."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Accept connections; after :meth:`stop` at the same address again."""
        self._released.clear()
        self._server = _Server(self, self._port)
        self._port = self._server.server_port
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="metadata", daemon=True
        ).start()

    def stop(self) -> None:
        """Refuse connections, and end stalled requests."""
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def interrupt(self, action: str = "terminate", *, seconds: float = 120.0) -> None:
        """Announce on AWS that the spot instance will be terminated, stopped or hibernated."""
        end = datetime.fromtimestamp(time.time() + seconds, timezone.utc)
        body = {"action": action, "time": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        self.texts[f"{_AWS}spot/instance-action"] = json.dumps(body)

    def recommend_rebalance(self) -> None:
        """Announce on AWS that the spot instance is at risk."""
        body = {"noticeTime": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
        self.texts[f"{_AWS}events/recommendations/rebalance"] = json.dumps(body)

    def expire_tokens(self) -> None:
        """Invalidate all tokens of AWS."""
        self._tokens.clear()

    def preempt(self) -> None:
        """Announce on GCP that the spot machine is preempted."""
        self.texts[f"{_GCP}preempted"] = "TRUE"

    def announce_maintenance(self, event: str = "TERMINATE_ON_HOST_MAINTENANCE") -> None:
        """Announce on GCP a maintenance of the host."""
        self.texts[f"{_GCP}maintenance-event"] = event

    def schedule(
        self,
        event: str = "Preempt",
        *,
        seconds: float | None = 30.0,
        resources: Sequence[str] = (NAME,),
    ) -> None:
        """Schedule an event on Azure *seconds* from now; None: it has begun."""
        body = {
            "EventId": secrets.token_hex(8),
            "EventType": event,
            "ResourceType": "VirtualMachine",
            "Resources": list(resources),
            "EventStatus": "Started" if seconds is None else "Scheduled",
            "NotBefore": "" if seconds is None else formatdate(time.time() + seconds, usegmt=True),
        }
        self.texts[_EVENTS] = json.dumps({"DocumentIncarnation": 2, "Events": [body]})

    def answer(self, request: _Request) -> Answer | None:
        """Return the answer to *request*; None: close the connection without one."""
        path, _, query = request.path.partition("?")
        self.requests.append(f"{request.command} {path}")
        fault = self.fault  # read once, because a test may change it meanwhile
        if fault is Fault.STALL:
            self._released.wait()
        if fault in {Fault.STALL, Fault.HANG_UP}:
            return None
        if fault is not None:
            return (500, "") if fault is Fault.ERROR else (200, "<\0\ufffd{]")
        if path == _TOKEN:
            return self._new_token(request)
        if refusal := self._refusal(path, query, request):
            return refusal, ""
        text = self.texts.get(path)
        return (404, "") if text is None else (200, text)

    def _new_token(self, request: _Request) -> Answer:
        life = request.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if request.command != "PUT":
            return 405, ""
        if not life.isdecimal() or not 1 <= int(life) <= 21_600:
            return 400, ""
        token = secrets.token_urlsafe(24)
        self._tokens.add(token)
        return 200, token

    def _refusal(self, path: str, query: str, request: _Request) -> int:
        headers = request.headers
        if path.startswith(_AWS) and headers.get("X-aws-ec2-metadata-token") not in self._tokens:
            return 401
        if path.startswith(_GCP) and headers.get("Metadata-Flavor") != "Google":
            return 403
        if path.startswith(_AZURE):
            asked_properly = headers.get("Metadata") == "true" and "api-version=20" in query
            return 0 if asked_properly else 400
        return 0


class _Server(ThreadingHTTPServer):
    def __init__(self, service: MetadataServer, port: int) -> None:
        self.service = service
        super().__init__(("127.0.0.1", port), _Request)


class _Request(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        answer = self.server.service.answer(self)
        # The client may have closed the connection meanwhile.
        with contextlib.suppress(ConnectionError):
            if answer is not None:
                status, text = answer
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

    do_PUT = do_GET  # noqa: N815 - the name that the standard library calls

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
