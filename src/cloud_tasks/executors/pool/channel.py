"""Send and receive frames over the socket to one child, without ever blocking.

A child may be stopped or killed half-way through a frame, and a process that it forked may hold
the other end open, so nothing here waits for the child. Frames: see ``protocol``.
"""

from __future__ import annotations

import socket

from cloud_tasks.executors.common import protocol

#: Bytes read from one child before the others get their turn.
_FAIR_SHARE = 4 * 2**20
#: Most frames fit; beyond 128 KiB the allocator would map and unmap memory at every read.
_CHUNK = 64 * 1024
_LARGE_CHUNK = 2**20
#: Bytes of the longest frame: more than any machine holds in memory.
_LONGEST = 2**44


class ForgedFrameError(Exception):
    """Bytes on the socket were not written by our code in the child."""


class Channel:
    """The pool's end of the socket of one child.

    Attributes:
        eof: the child, and all processes that inherited its end, have closed it.
    """

    __slots__ = ("_cookie", "_incoming", "_outgoing", "_socket", "eof")

    def __init__(self, end: socket.socket, cookie: bytes) -> None:
        end.setblocking(False)
        self._socket = end
        self._cookie = cookie
        self._incoming = bytearray()
        self._outgoing = memoryview(b"")
        self.eof = False

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def send(self, kind: int, *bodies: bytes) -> bool:
        """Send a frame for each of *bodies*; False if something waits for :meth:`flush`."""
        parts: list[bytes] = []
        for body in bodies:
            parts += (protocol.HEAD.pack(self._cookie, kind, len(body)), body)
        data = b"".join(parts)
        if self._outgoing:
            self._outgoing = memoryview(bytes(self._outgoing) + data)
        else:
            self._outgoing = memoryview(data)
        return self.flush()

    @property
    def has_outgoing(self) -> bool:
        """True if a part of a frame waits for :meth:`flush`."""
        return bool(self._outgoing)

    def flush(self) -> bool:
        """Send what the child can take now; True if nothing is left to send."""
        while self._outgoing:
            try:
                sent = self._socket.send(self._outgoing)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                # The child is gone or has closed its end; its death is handled elsewhere.
                self._outgoing = memoryview(b"")
                return True
            self._outgoing = self._outgoing[sent:]
        return True

    def receive(self, *, at_most: int = _FAIR_SHARE) -> list[tuple[int, bytes]]:
        """Return the frames that have arrived whole, after reading about *at_most* bytes.

        Raises:
            ForgedFrameError: other code has written into the socket.
        """
        taken = 0
        size = _CHUNK
        while taken < at_most:
            try:
                chunk = self._socket.recv(size)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.eof = True
                break
            if not chunk:
                self.eof = True
                break
            taken += len(chunk)
            if not self._incoming and len(chunk) < size:
                # Nearly always: the frames are split without copying the chunk first.
                frames, used = self._split(chunk)
                self._incoming += chunk[used:]
                return frames
            self._incoming += chunk
            if len(chunk) < size:
                break
            size = _LARGE_CHUNK
        frames, used = self._split(self._incoming)
        del self._incoming[:used]
        return frames

    def _split(self, data: bytes | bytearray) -> tuple[list[tuple[int, bytes]], int]:
        """Return the whole frames at the beginning of *data*, and their length in bytes."""
        frames = []
        at, size = 0, len(data)
        while (begin := at + protocol.HEAD.size) <= size:
            cookie, kind, length = protocol.HEAD.unpack_from(data, at)
            if cookie != self._cookie or length > _LONGEST:
                raise ForgedFrameError
            if begin + length > size:
                break
            at = begin + length
            frames.append((kind, bytes(data[begin:at])))
        return frames, at

    def drain(self) -> list[tuple[int, bytes]]:
        """Return all whole frames that are left after the child's death.

        Raises:
            ForgedFrameError: other code has written into the socket.
        """
        frames = []
        while True:
            before = len(self._incoming)
            new = self.receive()
            frames += new
            if self.eof or (not new and len(self._incoming) == before):
                return frames

    def close(self) -> None:
        """Close the pool's end: the child ends when it next reads."""
        self._socket.close()
