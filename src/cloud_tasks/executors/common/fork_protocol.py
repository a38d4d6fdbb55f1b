"""Define the messages about forks and deaths that a worker and a zygote exchange.

A zygote is the process of a slot that has imported the user's module and forks a process for each
task. One message is one packet. Worker to zygote::

    FORK    serial, cookie, serial to reap; comes with the descriptor of the new process's socket
    REAP    serial to reap: the worker has killed the dead process's group
    EXIT    end as soon as every forked process has been reaped; no FORK follows

Zygote to worker::

    FORKED  serial, pid
    FAILED  serial, error number: no process could be forked
    DIED    serial, exit code (-N: signal N); stays a zombie until it is to be reaped, so that no
            other process gets its pid

Serials count from 1; 0 means none.
"""

from __future__ import annotations

import socket
import struct

from cloud_tasks.executors.common.protocol import COOKIE_BYTES

#: kind, serial, value (serial to reap, pid, exit code or error number), cookie
MESSAGE = struct.Struct(f"<BQq{COOKIE_BYTES}s")

FORK, REAP, EXIT, FORKED, FAILED, DIED = range(1, 7)


def receive(control: socket.socket) -> tuple[int, int, int, bytes, int | None] | None:
    """Receive a message and the descriptor that came with it; None if the other end is closed."""
    try:
        packet, descriptors, _, _ = socket.recv_fds(control, MESSAGE.size, 1)
    except ConnectionResetError:  # it was closed with a message of ours unread
        return None
    parsed = parse(packet)
    return None if parsed is None else (*parsed, descriptors[0] if descriptors else None)


def parse(packet: bytes) -> tuple[int, int, int, bytes] | None:
    """Return the parts of a message; None if *packet* is none, or empty because of the end."""
    if len(packet) != MESSAGE.size:
        return None
    kind, serial, value, cookie = MESSAGE.unpack(packet)
    return kind, serial, value, cookie


def message(kind: int, serial: int, value: int = 0, cookie: bytes = b"") -> bytes:
    """Pack a message."""
    return MESSAGE.pack(kind, serial, value, cookie)
