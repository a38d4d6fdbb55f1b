"""Read and write frames at the child's end of its socket, in blocking mode.

A task may close or replace any descriptor of its process. So every write first checks that the
descriptor still is our socket: writing blindly would put our bytes into a file of the user's.
"""

from __future__ import annotations

import os

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.common.call import flush_streams
from cloud_tasks.executors.common.worker_files import file_identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

#: The exit code of a child whose task closed or replaced its socket, so that it can't reply.
_EXIT_CODE = 70


class SocketEnd:
    """The child's end of the socket; *permits* as in ``main.main``.

    Attributes:
        on_lost: called before the process is ended because it can't reply.
    """

    def __init__(self, descriptor: int, cookie: bytes, permits: int | None) -> None:
        self._descriptor = descriptor
        self._cookie = cookie
        self._permits = permits
        self._identity = file_identity(descriptor)
        self._permits_identity = None if permits is None else file_identity(permits)
        self._buffer = b""
        self._at = 0  # where in the buffer the next frame begins
        self.on_lost: Callable[[], None] | None = None

    @property
    def has_more(self) -> bool:
        """True if the next frame, or a part of it, has been read already."""
        return self._at < len(self._buffer)

    def take_permit(self) -> bool:
        """Take the permit to begin a task that was sent ahead; False: the worker recalled it."""
        assert self._permits is not None
        try:
            if file_identity(self._permits) != self._permits_identity:
                self._exit()
            os.eventfd_read(self._permits)
        except BlockingIOError:
            return False
        except OSError:
            self._exit()
        return True

    def read(self) -> tuple[int, bytes] | None:
        """Wait for the next frame, return its kind and body; None if the worker has closed."""
        if not self._fill(protocol.HEAD.size):
            return None
        _, kind, length = protocol.HEAD.unpack_from(self._buffer, self._at)
        if not self._fill(protocol.HEAD.size + length):
            return None
        begin = self._at + protocol.HEAD.size
        self._at = end = begin + length
        body = self._buffer[begin:end]
        if not self.has_more:
            self._buffer, self._at = b"", 0  # it may be large
        return kind, body

    def _fill(self, n: int) -> bool:
        """Read until *n* bytes are in the buffer; False if the worker has closed."""
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
        """Send a frame; end the process if the descriptor is no longer our socket."""
        try:
            if file_identity(self._descriptor) != self._identity:
                self._exit()
            data = protocol.frame(self._cookie, kind, body)
            sent = os.write(self._descriptor, data)
            while sent < len(data):
                sent += os.write(self._descriptor, memoryview(data)[sent:])
        except OSError:
            self._exit()

    def _exit(self) -> NoReturn:
        if self.on_lost is not None:
            self.on_lost()
        flush_streams()
        os._exit(_EXIT_CODE)
