"""The words that a worker and a zygote exchange about births and deaths.

One message, one packet. Worker to zygote::

    FORK    serial, token, serial of one to be reaped; with the descriptor of the new one's socket
    REAP    serial of one to be reaped: whoever was to be killed with it has been
    LEAVE   there will be no more births

Zygote to worker::

    FORKED  serial, pid
    FAILED  serial, error number: no process could be forked
    DIED    serial, exit code; a zombie until it is to be reaped, so that its pid stays its own

Serials count from 1; 0 is none.
"""

from __future__ import annotations

import socket
import struct

from cloud_tasks.executors.common.protocol import TOKEN_BYTES

#: kind, serial, who is to be reaped or pid or exit code or error number, token
MESSAGE = struct.Struct(f"<BQq{TOKEN_BYTES}s")

FORK, REAP, LEAVE, FORKED, FAILED, DIED = range(1, 7)


def receive(control: socket.socket) -> tuple[int, int, int, bytes, int | None] | None:
    """Receive a message and the descriptor that came with it; None: the other end is closed."""
    packet, descriptors, _, _ = socket.recv_fds(control, MESSAGE.size, 1)
    if not packet:
        return None
    return *MESSAGE.unpack(packet), descriptors[0] if descriptors else None


def message(kind: int, serial: int, value: int = 0, token: bytes = b"") -> bytes:
    """Return a message."""
    return MESSAGE.pack(kind, serial, value, token)
