"""The login page of a network: it answers every request in place of the server behind it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@dataclass
class Portal:
    """A way to a server on which something else may answer.

    Attributes:
        url: of the portal.
        answer: status, type and body of every answer; None: the server's own.
        only: words of the operation (as in its header) that are answered so; empty: all.
        answered: operations that were answered so.
    """

    url: str = ""
    answer: tuple[int, str, bytes] | None = None
    only: str = ""
    answered: list[str] = field(default_factory=list)


@contextmanager
def portal(target: str) -> Iterator[Portal]:
    """Serve HTTP on this machine in front of *target*, a URL."""
    behind = urlsplit(target)
    state = Portal()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            operation = self.headers.get("X-Amz-Target", "")
            if state.answer is not None and state.only in operation:
                state.answered.append(operation.rpartition(".")[2])
                status, kind, content = state.answer
                self.reply(status, {"Content-Type": kind}, content)
                return
            connection = HTTPConnection(behind.hostname or "", behind.port, timeout=60)
            connection.request("POST", self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            kept = {
                k: v for k, v in answer.getheaders() if k.lower().startswith(("x-", "content-t"))
            }
            connection.close()
            self.reply(answer.status, kept, content)

        do_GET = do_POST  # noqa: N815 - the library's name

        def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
