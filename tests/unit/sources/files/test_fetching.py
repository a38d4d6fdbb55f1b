"""A remote task file that can't be fetched: the sentence says why."""

from __future__ import annotations

import gc
import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_tasks.errors import SourceError
from cloud_tasks.sources.files.task_file import TaskFileSource
from cloud_tasks.testing.source_contract import drain

pytest.importorskip("filecache")
#: filecache leaves the connection of an answer that is an error to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

JSON = b'[{"task_id": "t", "data": {}}]'


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        status = int(self.path.strip("/").partition(".")[0])
        self.send_response(status)
        self.send_header("Content-Length", str(len(JSON)))
        self.end_headers()
        self.wfile.write(JSON)

    def log_message(self, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def refusal(url: str) -> str:
    source = TaskFileSource(url)
    with pytest.raises(SourceError) as caught:
        source.open()
    source.close()
    gc.collect()  # here, where the warning about a connection is expected
    return str(caught.value).removeprefix(f"the task file {url} can't be fetched: ")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "it does not exist: check bucket and name (404 'Not Found')"),
        (403, "access is denied: check credentials and permissions, and that it exists (403"),
        (401, "it needs credentials (401"),
        (500, "the server failed (500 'Internal Server Error')"),
        (503, "the server failed (503"),
        (418, "(418"),
    ],
)
def test_the_status_of_an_answer_is_told(
    server: http.server.HTTPServer, status: int, reason: str
) -> None:
    assert refusal(f"http://127.0.0.1:{server.server_port}/{status}.json").startswith(reason)


def test_a_scheme_in_capitals_is_the_same(server: http.server.HTTPServer) -> None:
    assert drain(TaskFileSource(f"HTTP://127.0.0.1:{server.server_port}/200.json")).ids == ["t"]


@pytest.mark.parametrize("url", ["ftp://host/a.json", "FTP://host/a.json", "htps://host/a.json"])
def test_a_scheme_that_is_not_supported_is_named(url: str) -> None:
    scheme = url.partition(":")[0]
    assert refusal(url) == (
        f"'{scheme}' is not supported, but gs, http, https, s3; "
        "fetch it first, and give the local file"
    )


def test_a_server_that_is_not_there_is_told() -> None:
    assert refusal("http://127.0.0.1:1/a.json").startswith("the server can't be reached (")


def test_a_certificate_that_nobody_has_signed_is_told(
    server: http.server.HTTPServer, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    reason = refusal(f"https://127.0.0.1:{server.server_port}/200.json")
    assert reason.startswith("the server's certificate can't be verified (")


def test_a_server_without_tls_is_told(server: http.server.HTTPServer) -> None:
    reason = refusal(f"https://127.0.0.1:{server.server_port}/200.json")
    assert reason.startswith("there is no secure connection to the server (")
