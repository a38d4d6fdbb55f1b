"""Waiting on many descriptors at once, with the fastest means that the platform has."""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading
from typing import Any

_READ = select.POLLIN
_WRITE = select.POLLOUT


class Poller:
    """A lasting set of descriptors; epoll where there is one (building a set per wait is slow)."""

    def __init__(self) -> None:
        self._set: Any
        if hasattr(select, "epoll"):
            self._set = select.epoll()
            self._unit = 1.0  # seconds
        else:
            self._set = select.poll()
            self._unit = 1000.0  # milliseconds

    def add(self, descriptor: int) -> None:
        """Watch *descriptor* for something to read."""
        self._set.register(descriptor, _READ)

    def watch_write(self, descriptor: int, on: bool) -> None:
        """Watch *descriptor* for room to write as well, or no longer."""
        self._set.modify(descriptor, _READ | _WRITE if on else _READ)

    def remove(self, descriptor: int) -> None:
        """Stop watching; before the descriptor is closed."""
        self._set.unregister(descriptor)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Return ``(descriptor, events)`` of those that are ready, waiting up to *seconds*."""
        limit = None if seconds == math.inf else max(0.0, seconds) * self._unit
        ready: list[tuple[int, int]] = self._set.poll(limit)
        return ready

    def close(self) -> None:
        """Let go of the set."""
        close = getattr(self._set, "close", None)
        if close is not None:
            close()


class WakeUp:
    """A descriptor by which other threads, or signal handlers, end a wait."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._lock = threading.Lock()
        self._closed = False

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._reader

    def set(self) -> None:
        """End the wait, or the next one; does nothing after :meth:`close`."""
        with self._lock:
            if self._closed:
                return
            with contextlib.suppress(BlockingIOError):  # it is full of wake-ups already
                os.write(self._writer, b"x")

    def clear(self) -> None:
        """Forget the wake-ups until now."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._reader, 4096)) == 4096:
                pass

    def close(self) -> None:
        """Close both ends."""
        with self._lock:
            self._closed = True
            os.close(self._reader)
            os.close(self._writer)
