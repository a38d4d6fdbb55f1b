"""The child's end of its socket: blocking, framed, and checked to be ours still."""

from __future__ import annotations

import os

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.call import flush_streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: The exit code of a child whose task took its socket away, so that it can't answer.
CUT_OFF = 70


class Socket:
    """The child's end: blocking, framed, and checked to be ours still."""

    def __init__(self, descriptor: int, token: bytes, tokens: int | None) -> None:
        self._descriptor = descriptor
        self._token = token
        self._tokens = tokens
        self._identity = identity(descriptor)
        self._tokens_identity = None if tokens is None else identity(tokens)
        self._buffer = b""
        self._at = 0  # in the buffer: the next frame

    @property
    def has_more(self) -> bool:
        """The next frame, or a part of it, is here already."""
        return self._at < len(self._buffer)

    def take_token(self) -> bool:
        """Take the right to begin a task that was sent ahead; False: the parent took it back."""
        assert self._tokens is not None
        try:
            if identity(self._tokens) != self._tokens_identity:
                cut_off()
            os.eventfd_read(self._tokens)
        except BlockingIOError:
            return False
        except OSError:
            cut_off()
        return True

    def read(self) -> tuple[int, bytes] | None:
        """Return the next frame; None when the parent has closed."""
        if not self._have(protocol.HEAD.size):
            return None
        _, kind, length = protocol.HEAD.unpack_from(self._buffer, self._at)
        if not self._have(protocol.HEAD.size + length):
            return None
        begin = self._at + protocol.HEAD.size
        self._at = end = begin + length
        body = self._buffer[begin:end]
        if not self.has_more:
            self._buffer, self._at = b"", 0  # it may be large
        return kind, body

    def _have(self, n: int) -> bool:
        """Read until *n* bytes are there; False when the parent has closed."""
        missing = n - (len(self._buffer) - self._at)
        if missing > 0:
            parts = [self._buffer[self._at :]]
            while missing > 0:
                part = os.read(self._descriptor, max(65536, min(missing, 2**20)))
                if not part:
                    return False
                parts.append(part)
                missing -= len(part)
            self._buffer, self._at = b"".join(parts), 0
        return True

    def write(self, kind: int, body: bytes) -> None:
        """Send a frame, or end the process if the task closed or replaced the descriptor.

        Writing blindly would put our bytes into a file of the user's.
        """
        try:
            if identity(self._descriptor) != self._identity:
                cut_off()
            data = protocol.frame(self._token, kind, body)
            sent = os.write(self._descriptor, data)
            while sent < len(data):
                sent += os.write(self._descriptor, memoryview(data)[sent:])
        except OSError:
            cut_off()


def identity(descriptor: int) -> tuple[int, int]:
    """Tell which file *descriptor* is: a task may have closed or replaced it.

    Raises:
        OSError: it is closed.
    """
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def cut_off() -> NoReturn:
    """End this process, which can't answer any more."""
    flush_streams()
    os._exit(CUT_OFF)
