"""The child's end of its socket: blocking, framed, and checked to be ours still."""

from __future__ import annotations

import os
from typing import NoReturn

from cloud_tasks.executors import wire
from cloud_tasks.executors.call import flush_streams

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

    @property
    def has_more(self) -> bool:
        """The next frame, or a part of it, is here already."""
        return bool(self._buffer)

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
        head = self._read_exactly(wire.HEAD.size)
        if head is None:
            return None
        _, kind, length = wire.HEAD.unpack(head)
        body = self._read_exactly(length)
        return None if body is None else (kind, body)

    def _read_exactly(self, n: int) -> bytes | None:
        if len(self._buffer) < n:
            parts = [self._buffer]
            missing = n - len(self._buffer)
            while missing > 0:
                part = os.read(self._descriptor, max(65536, min(missing, 2**20)))
                if not part:
                    return None
                parts.append(part)
                missing -= len(part)
            self._buffer = b"".join(parts)
        taken, self._buffer = self._buffer[:n], self._buffer[n:]
        return taken

    def write(self, kind: int, body: bytes) -> None:
        """Send a frame, or end the process if the task closed or replaced the descriptor.

        Writing blindly would put our bytes into a file of the user's.
        """
        try:
            if identity(self._descriptor) != self._identity:
                cut_off()
            rest = memoryview(wire.frame(self._token, kind, body))
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
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
