"""Serve fake queues to other processes, so that one of their workers can be killed.

::

    with serve(folder) as (server, variables):  # in this process
        subprocess.Popen(["... worker --provider served ..."], env={**os.environ, **variables})

A worker finds the provider by the entry point in *folder*, and the server by a variable.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from cloud_tasks import registry
from cloud_tasks.errors import QueueError
from cloud_tasks.queues.base import (
    Backlog,
    Failure,
    Message,
    MessageQueue,
    Outgoing,
    QueueInfo,
    QueueProvider,
)
from cloud_tasks.testing.fake_queue import FakeAdmin, FakeQueue, FakeServer
from cloud_tasks.testing.fake_server import LIMITS

NAME = "served"
_ADDRESS = "SERVED_QUEUE_ADDRESS"


class ServedQueue(MessageQueue):
    """A queue of the serving process."""

    limits = LIMITS

    def _call(self, method: str, *args: Any, **keywords: Any) -> Any:
        self._count(method)
        with Client(os.environ[_ADDRESS]) as connection:
            connection.send((self.name, method, args, keywords))
            answer = connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check(self) -> QueueInfo:
        """Check that the queue exists."""
        info: QueueInfo = self._call("check")
        return info

    def receive(self, n: int, *, wait: float, lease: float) -> list[Message]:
        """Receive up to *n* messages."""
        messages: list[Message] = self._call("receive", n, wait=wait, lease=lease)
        return messages

    def extend(self, messages: Sequence[Message], seconds: float) -> list[Failure]:
        """Make the leases of *messages* end *seconds* from now."""
        failures: list[Failure] = self._call("extend", messages, seconds)
        return failures

    def ack(self, messages: Sequence[Message]) -> list[Failure]:
        """Delete *messages*."""
        failures: list[Failure] = self._call("ack", messages)
        return failures

    def release(self, messages: Sequence[Message], *, delay: float = 0.0) -> list[Failure]:
        """Make *messages* visible again."""
        failures: list[Failure] = self._call("release", messages, delay=delay)
        return failures

    def send(self, messages: Sequence[Outgoing]) -> list[Failure]:
        """Send *messages*."""
        failures: list[Failure] = self._call("send", messages)
        return failures

    def backlog(self) -> Backlog:
        """Count the messages that are not deleted."""
        backlog: Backlog = self._call("backlog")
        return backlog

    def close(self) -> None:
        """Do nothing: each request has a connection of its own."""


class ServedProvider(QueueProvider):
    """The provider of a worker, in a process of its own."""

    limits = LIMITS

    def queue(self, name: str) -> ServedQueue:
        """Return the queue *name*."""
        return ServedQueue(name)

    def admin(self, name: str) -> FakeAdmin:
        """Raise: a worker makes no queue."""
        raise NotImplementedError("queues are made where they are served")


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[tuple[FakeServer, dict[str, str]]]:
    """Serve fake queues for the length of the context, with files in *folder*.

    Yields the server, and the environment variables that a worker needs besides its own.
    """
    info = folder / "served_queue-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: served-queue\nVersion: 1.0\n")
    entry = f"{NAME} = benchmarks.served_queue:ServedProvider"
    (info / "entry_points.txt").write_text(f"[{registry.GROUPS['queue']}]\n{entry}\n")
    fake = FakeServer()
    address = str(folder / "socket")
    # All workers may connect at once.
    with Listener(address, backlog=64) as listener:
        threading.Thread(target=_accept, args=(listener, fake), daemon=True).start()
        yield fake, {_ADDRESS: address}


def _accept(listener: Listener, fake: FakeServer) -> None:
    while True:
        try:
            connection = listener.accept()
        except OSError:  # closed
            return
        threading.Thread(target=_answer, args=(connection, fake), daemon=True).start()


def _answer(connection: Connection, fake: FakeServer) -> None:
    with connection, contextlib.suppress(OSError, EOFError):  # a killed worker asks no more
        name, method, args, keywords = connection.recv()
        try:
            answer = getattr(FakeQueue(name, fake), method)(*args, **keywords)
        except QueueError as error:
            answer = error
        connection.send(answer)
