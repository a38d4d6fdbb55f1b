"""Wait for many descriptors at once, with the fastest call that the platform has."""

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
    """A set of watched descriptors: epoll, else poll."""

    def __init__(self) -> None:
        self._set: Any
        if hasattr(select, "epoll"):
            self._set = select.epoll()
            self._unit = 1.0  # seconds
        else:
            self._set = select.poll()
            self._unit = 1000.0  # milliseconds

    def add(self, descriptor: int) -> None:
        """Watch *descriptor* until it is readable."""
        self._set.register(descriptor, _READ)

    def watch_write(self, descriptor: int, on: bool) -> None:
        """Watch *descriptor* for being writable as well if *on*, else no longer."""
        self._set.modify(descriptor, _READ | _WRITE if on else _READ)

    def remove(self, descriptor: int) -> None:
        """Stop watching *descriptor*; must be called before it is closed."""
        self._set.unregister(descriptor)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """Return ``(descriptor, events)`` of those that are ready, waiting up to *seconds*."""
        limit = None if seconds == math.inf else max(0.0, seconds) * self._unit
        ready: list[tuple[int, int]] = self._set.poll(limit)
        return ready

    def close(self) -> None:
        """Close the descriptor of epoll; poll has none."""
        if hasattr(self._set, "close"):
            self._set.close()


class WakeUp:
    """A descriptor that other threads make readable to end a wait."""

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
        """End the wait, or the next one; from any thread. Does nothing after :meth:`close`."""
        with self._lock:
            if self._closed:
                return
            with contextlib.suppress(BlockingIOError):  # it is full of wake-ups already
                os.write(self._writer, b"x")

    def clear(self) -> None:
        """Make the descriptor unreadable again."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._reader, 4096)) == 4096:
                pass

    def close(self) -> None:
        """Close both ends."""
        with self._lock:
            self._closed = True
            os.close(self._reader)
            os.close(self._writer)
