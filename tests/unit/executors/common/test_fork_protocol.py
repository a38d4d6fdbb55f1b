"""The messages about births and deaths, with and without a descriptor."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from cloud_tasks.executors.common import fork_protocol

pytestmark = [
    pytest.mark.interpreter,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="zygotes are for Linux"),
]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_a_descriptor_comes_along_and_is_the_same_file(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    reader, writer = os.pipe()
    socket.send_fds(ours, [fork_protocol.message(fork_protocol.FORK, 7, 3, b"12345678")], [writer])
    words = fork_protocol.receive(theirs)
    assert words is not None
    *rest, descriptor = words
    assert rest == [fork_protocol.FORK, 7, 3, b"12345678"]
    assert descriptor is not None
    os.write(descriptor, b"x")
    assert os.read(reader, 9) == b"x"
    for number in (reader, writer, descriptor):
        os.close(number)


def test_a_message_without_a_descriptor_says_so(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.send(fork_protocol.message(fork_protocol.DIED, 2**40, -9))
    assert fork_protocol.receive(theirs) == (fork_protocol.DIED, 2**40, -9, bytes(8), None)


def test_an_end_that_is_closed_is_told_from_a_message(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    ours.close()
    assert fork_protocol.receive(theirs) is None
