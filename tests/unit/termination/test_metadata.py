from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.termination import metadata
from cloud_tasks.termination.metadata import OVERRIDE, Answer, MetadataError, MetadataService
from cloud_tasks.testing.metadata_server import Fault, MetadataServer

ID = "/computeMetadata/v1/instance/id"
HEADERS = {"Metadata-Flavor": "Google"}
VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"


@contextlib.contextmanager
def speaking(reply: bytes) -> Iterator[str]:
    """Answer one connection with *reply*, whatever is asked."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_an_answer_has_status_and_text(server: MetadataServer) -> None:
    service = MetadataService(server.address)
    assert service.ask(ID, HEADERS) == Answer(ID, 200, "4711")
    assert service.ask(ID, {}).status == 403


def test_a_status_other_than_200_has_no_content() -> None:
    assert Answer("/x", 200, " 7\n").content() == "7"
    with pytest.raises(MetadataError, match="/x: HTTP status 404"):
        Answer("/x", 404, "7").content()


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "\0", "[" * 100_000, "9" * 10_000])
def test_what_is_no_json_object_is_an_error_that_shows_its_beginning(text: str) -> None:
    with pytest.raises(MetadataError, match=r"/x: '.{,200} is no JSON object"):
        Answer("/x", 200, text).mapping()


def test_the_first_address_that_is_given_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def address(given: str | None = None) -> str:
        return MetadataService(given, variable=VARIABLE).address

    assert address() == "http://169.254.169.254"
    monkeypatch.setenv(VARIABLE, "http://10.0.0.1:81/")
    assert address() == "http://10.0.0.1:81/"
    monkeypatch.setenv(OVERRIDE, "10.0.0.2:82")
    assert address() == "http://10.0.0.2:82"
    assert address("http://[::1]") == "http://[::1]"
    for unset in ("", "None"):
        monkeypatch.setenv(OVERRIDE, unset)
        assert address() == "http://10.0.0.1:81/"


def test_the_password_of_an_address_is_not_shown() -> None:
    assert MetadataService("http://me:pw@10.0.0.1:81").address == "http://***@10.0.0.1:81"


@pytest.mark.parametrize("text", ["ftp://x", "https://x", "http://", "x:port", "http://[::1", ":8"])
def test_what_is_no_address_is_refused_by_the_name_of_its_variable(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigurationError, match=f"{VARIABLE}=.* is no address .*http://HOST"):
        MetadataService(variable=VARIABLE)


def test_an_address_may_have_a_path(server: MetadataServer) -> None:
    server.texts["/below" + ID] = "12"
    assert MetadataService(server.address + "/below/").ask(ID, HEADERS).text == "12"


def test_no_proxy_is_asked(server: MetadataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert MetadataService(server.address).ask(ID, HEADERS).status == 200


def test_a_redirect_is_not_followed(server: MetadataServer) -> None:
    reply = f"HTTP/1.1 302 Found\r\nLocation: {server.address}{ID}\r\nContent-Length: 0\r\n\r\n"
    with speaking(reply.encode()) as address:
        assert MetadataService(address).ask(ID, HEADERS).status == 302
    assert not server.requests


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 nonsense\r\n\r\n",
    ],
)
def test_what_is_no_http_is_an_error(reply: bytes) -> None:
    with speaking(reply) as address, pytest.raises(MetadataError, match=f"{ID}: .+"):
        MetadataService(address).ask(ID, HEADERS)


@pytest.mark.parametrize("header", [b"", b"Content-Length: 3000000\r\n"])
def test_an_answer_without_end_is_an_error(header: bytes) -> None:
    reply = b"HTTP/1.1 200 OK\r\n" + header + b"\r\n" + b"x" * 3_000_000
    with speaking(reply) as address, pytest.raises(MetadataError, match="1 MiB"):
        MetadataService(address).ask(ID, HEADERS)


def test_nobody_there_is_an_error(server: MetadataServer) -> None:
    service = MetadataService(server.address)
    server.stop()
    with pytest.raises(MetadataError, match="refused"):
        service.ask(ID, HEADERS)
    server.start()
    assert service.ask(ID, HEADERS).status == 200


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 70])
def test_a_name_that_leads_nowhere_is_an_error(host: str) -> None:
    with pytest.raises(MetadataError):
        MetadataService(host).ask(ID, HEADERS)


def test_silence_is_an_error_after_two_seconds(
    server: MetadataServer, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert patience == 2.0
    monkeypatch.setattr(metadata, "TIMEOUT", patience)
    server.fault = Fault.STALL
    with pytest.raises(MetadataError, match="timed out"):
        MetadataService(server.address).ask(ID, HEADERS)


def test_a_token_that_no_header_can_carry_is_an_error(server: MetadataServer) -> None:
    with pytest.raises(MetadataError, match="Invalid header value"):
        MetadataService(server.address).ask(ID, {"Metadata-Flavor": "a\r\nb"})
