"""The relay is as bad as a test wants it to be, and good again afterwards."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest
from servers.relay import Relay

from cloud_tasks.testing import eventually


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = False
    allow_reuse_address = True


@pytest.fixture
def relay() -> Iterator[Relay]:
    with Server(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with Relay(server.server_address[:2]) as relay:  # type: ignore[arg-type]  # IPv4
                yield relay
        finally:
            server.shutdown()
            thread.join()


def connected(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=10)


def answer(client: socket.socket, line: bytes) -> bytes:
    client.sendall(line)
    answered = b""
    while len(answered) < len(line) and (part := client.recv(100)):
        answered += part
    return answered


def test_it_passes_what_is_said_to_several_at_once(relay: Relay) -> None:
    with connected(relay) as first, connected(relay) as second:
        assert answer(first, b"one\n") == b"one\n"
        assert answer(second, b"two\n") == b"two\n"
    assert relay.accepted == 2


def test_it_refuses_at_once_and_comes_back_at_the_same_port(relay: Relay) -> None:
    with connected(relay) as client:
        answer(client, b"one\n")
        relay.refuse()
        assert client.recv(100) == b""
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            connected(relay)
        relay.refuse()
    relay.go_on()
    with connected(relay) as client:
        assert answer(client, b"two\n") == b"two\n"


def test_a_cut_ends_what_is_connected_and_nothing_else(relay: Relay) -> None:
    with connected(relay) as client:
        answer(client, b"one\n")
        relay.cut()
        assert client.recv(100) == b""
    with connected(relay) as client:
        assert answer(client, b"two\n") == b"two\n"


def test_a_stall_holds_back_old_and_new_connections_until_it_is_over(relay: Relay) -> None:
    with connected(relay) as old:
        answer(old, b"one\n")
        relay.stall()
        with connected(relay) as new:
            for client in (old, new):
                client.sendall(b"two\n")
                client.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    client.recv(100)
            eventually(lambda: relay.accepted == 2)
            relay.go_on()
            for client in (old, new):
                client.settimeout(10)
                assert client.recv(100) == b"two\n"


def test_an_answer_is_cut_after_so_many_bytes(relay: Relay) -> None:
    with connected(relay) as old:
        answer(old, b"one\n")
        relay.cut_after(5)
        assert answer(old, b"two\n") == b"two\n"
        assert answer(old, b"three\n") == b"t"
    with connected(relay) as new:
        assert answer(new, b"hello world\n") == b"hello"
    relay.go_on()
    with connected(relay) as new:
        assert answer(new, b"hello world\n") == b"hello world\n"


def test_closing_ends_all_its_threads(relay: Relay) -> None:
    with connected(relay) as client:
        answer(client, b"one\n")
        relay.stall()
        assert len(its_threads()) == 3
        relay.close()
        assert its_threads() == []


def its_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("relay ")]
