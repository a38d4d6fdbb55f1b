"""moto's server as a program, with queues that no two requests touch at once.

::

    python moto_server.py PORT DESCRIPTOR PARENT

By themselves moto's queues have a lock for waiting only: of two that receive at once both may get
a message, and one that is sent while another is deleted may be lost. Tests have several workers at
one queue, so the operations on messages are wrapped here.

The listening socket comes from the parent as DESCRIPTOR, so that no other program can take the
port meanwhile. Under Linux the kernel kills the server with the thread that started it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

#: What changes the messages of a queue; moto makes its batches of these.
TOUCHING = (
    "send_message",
    "receive_message",
    "change_message_visibility",
    "delete_message",
    "purge_queue",
)
_PR_SET_PDEATHSIG = 1


def guard_queues() -> None:
    """Make moto deal with one request at a time on each queue."""
    from moto.sqs.models import SQSBackend

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(backend: Any, queue_name: str, *args: Any, **keywords: Any) -> Any:
            # Its own lock, which it releases while it waits for a message.
            with backend.get_queue(queue_name)._messages_lock:
                return method(backend, queue_name, *args, **keywords)

        return call

    for name in TOUCHING:
        setattr(SQSBackend, name, guarded(getattr(SQSBackend, name)))


def main(port: int, descriptor: int, parent: int) -> None:
    """Serve until killed; returns at once if *parent* is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
    os.environ["MOTO_PORT"] = str(port)  # before the import, which reads it
    from moto.server import (  # type: ignore[attr-defined]
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    guard_queues()
    make_server(
        "127.0.0.1",
        port,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=MotoRequestHandler,
        fd=descriptor,
    ).serve_forever()


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, which has a moto.py of its own
    main(*map(int, sys.argv[1:]))
