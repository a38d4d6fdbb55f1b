from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.pool.channel import Channel, ForgedFrameError

pytestmark = pytest.mark.interpreter

TOKEN = b"8 bytes."


@pytest.fixture
def ends() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = socket.socketpair()
    channel = Channel(ours, TOKEN)
    with theirs:
        yield channel, theirs
    channel.close()


Ends = tuple[Channel, socket.socket]


def test_a_frame_is_returned_when_its_last_byte_has_arrived(ends: Ends) -> None:
    channel, theirs = ends
    frame = protocol.frame(TOKEN, protocol.DONE, b"body")
    for byte in frame[:-1]:
        theirs.send(bytes([byte]))
        assert channel.receive() == []
    theirs.send(frame[-1:])
    assert channel.receive() == [(protocol.DONE, b"body")]


def test_several_frames_and_a_half_arrive_at_once(ends: Ends) -> None:
    channel, theirs = ends
    frames = [protocol.frame(TOKEN, protocol.DONE, b"x" * n) for n in (0, 1, 70_000)]
    theirs.send(b"".join(frames) + frames[1][:5])
    assert [len(body) for _, body in channel.receive()] == [0, 1, 70_000]
    theirs.send(frames[1][5:])
    assert channel.receive() == [(protocol.DONE, b"x")]


def test_a_frame_larger_than_any_buffer_arrives_in_turns(ends: Ends) -> None:
    channel, theirs = ends
    theirs.setblocking(False)
    rest = memoryview(protocol.frame(TOKEN, protocol.DONE, b"x" * 3_000_000))
    received: list[tuple[int, bytes]] = []
    while rest:
        rest = rest[theirs.send(rest) :]
        received += channel.receive(at_most=1000)
    theirs.close()
    received += channel.drain()
    assert [(kind, len(body)) for kind, body in received] == [(protocol.DONE, 3_000_000)]


@pytest.mark.parametrize("garbage", [b"\0" * 17, b"garbage" * 9], ids=["zeros", "text"])
def test_another_token_is_a_forgery(ends: Ends, garbage: bytes) -> None:
    channel, theirs = ends
    theirs.send(garbage)
    with pytest.raises(ForgedFrameError):
        channel.receive()


def test_a_stray_byte_before_a_frame_is_a_forgery(ends: Ends) -> None:
    channel, theirs = ends
    theirs.send(b"x" + protocol.frame(TOKEN, protocol.DONE, b""))
    with pytest.raises(ForgedFrameError):
        channel.receive()


def test_nothing_to_read_is_not_the_end(ends: Ends) -> None:
    channel, _ = ends
    assert channel.receive() == []
    assert not channel.eof


def test_what_came_before_the_end_is_returned_with_it(ends: Ends) -> None:
    channel, theirs = ends
    theirs.send(protocol.frame(TOKEN, protocol.DONE, b"last") + b"half a fr")
    theirs.close()
    assert channel.drain() == [(protocol.DONE, b"last")]
    assert channel.eof


def test_drain_returns_though_somebody_holds_the_other_end(ends: Ends) -> None:
    channel, theirs = ends
    theirs.send(protocol.frame(TOKEN, protocol.DONE, b"last"))
    assert channel.drain() == [(protocol.DONE, b"last")]
    assert not channel.eof


def test_what_the_child_can_not_take_is_sent_later(ends: Ends) -> None:
    channel, theirs = ends
    body = b"x" * 3_000_000
    assert not channel.send(protocol.TASK, body)
    assert not channel.send(protocol.TASK, b"second")
    expected = len(
        protocol.frame(TOKEN, protocol.TASK, body) + protocol.frame(TOKEN, protocol.TASK, b"second")
    )
    taken = 0
    while taken < expected:
        taken += len(theirs.recv(2**20))
        channel.flush()
    assert channel.flush()


def test_sending_to_a_child_that_is_gone_is_no_error(ends: Ends) -> None:
    channel, theirs = ends
    theirs.close()
    assert channel.send(protocol.TASK, b"x" * 3_000_000)
    assert channel.flush()
