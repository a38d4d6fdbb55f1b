"""Pub/Sub for a job's site, and what only its emulator lets a test know."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.queue_site import WAIT, Cloud
from servers import pubsub
from servers.relay import Address

from cloud_tasks.queues.base import Depth, Message, MessageQueue, QueueSpec
from cloud_tasks.queues.pubsub.admin import PubSubAdmin
from cloud_tasks.queues.pubsub.client import TIMEOUT, Connection
from cloud_tasks.queues.pubsub.errors import Side
from cloud_tasks.queues.pubsub.names import Names
from cloud_tasks.queues.pubsub.provider import PubSubProvider
from cloud_tasks.testing import eventually

#: Seconds that an emulator may take to start.
_START_LIMIT = 90.0
#: Seconds between two looks at what is visible in a queue, at least.
_BETWEEN_LOOKS = 1.0
#: Seconds between two pulls that don't wait.
_BETWEEN_PULLS = 0.5


class PubSub(Cloud):
    """Google, played by its emulator, whose place is in the environment of workers.

    Args:
        address: of the emulator.
        project: whose queues they are; one that nobody else uses.
    """

    def __init__(self, address: str, project: str, *, exactly_once: bool = False) -> None:
        host, _, port = address.rpartition(":")
        self.server = host, int(port)
        self.project = project
        self.exactly_once = exactly_once
        self._connections: dict[str, Connection] = {}
        self._providers: list[CountingProvider] = []

    def provider(self) -> CountingProvider:
        provider = CountingProvider(
            project_id=self.project,
            endpoint_url=_place(self.server),
            exactly_once=self.exactly_once,
        )
        self._providers.append(provider)
        return provider

    def flags(self, server: Address) -> list[str]:
        once = ["--exactly-once-queue"] if self.exactly_once else []
        return ["--provider", "GCP", "--project-id", self.project, *once]

    def environment(self, server: Address) -> dict[str, str]:
        return {"PUBSUB_EMULATOR_HOST": _place(server)}

    def names(self, queue: str) -> Names:
        return Names(queue, self.project)

    def request(self, queue: str, side: Side, method: str, fields: dict[str, Any]) -> Any:
        """Ask for something that our interface has no word for."""
        if queue not in self._connections:
            self._connections[queue] = PatientConnection(self.names(queue), _place(self.server))
        return self._connections[queue].request(side, method, fields)

    def take(self, queue: MessageQueue, wait: float = 0.0) -> list[Message]:
        """Return some of what is in *queue*, or comes within *wait* seconds; empty: no more.

        A pull that waits is over by the clock: an answer that comes later, as this process stood
        still, is lost, and its messages are hidden for a while. So this one doesn't wait.
        """
        messages = self._there(queue.name)
        if not messages and wait:
            time.sleep(min(wait, _BETWEEN_PULLS))
            messages = self._there(queue.name)
        return messages

    def _there(self, queue: str) -> list[Message]:
        answer = at_once(
            lambda fields: self.request(queue, "subscription", "pull", fields),
            self.names(queue).subscription,
        )
        return [Message(r.message.message_id, r.message.data, r.ack_id) for r in answer]

    def close(self) -> None:
        """Let go of connections: threads of theirs go on else, which bear no fork."""
        for connection in self._connections.values():
            connection.close()
        for provider in self._providers:
            provider.close()
        self._connections.clear()
        self._providers.clear()


def at_once(pull: Callable[[dict[str, Any]], Any], subscription: str) -> Sequence[Any]:
    """Return what *subscription* has now, by one request."""
    with warnings.catch_warnings():
        # Google asks not to use it, as a pull of the service may then miss some.
        warnings.filterwarnings("ignore", "The return_immediately flag", DeprecationWarning)
        fields = {"subscription": subscription, "max_messages": 1000, "return_immediately": True}
        received: Sequence[Any] = pull(fields).received_messages
        return received


def _place(server: Address) -> str:
    return f"{server[0]}:{server[1]}"


class PatientConnection(Connection):
    """Of a test, which never tries again: it gives a machine that stands still its time."""

    def call(
        self, side: Side, method: str, fields: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> Any:
        timeout = WAIT if timeout == TIMEOUT else timeout
        return super().call(side, method, fields, timeout=timeout)


class CountingProvider(PubSubProvider):
    """Its queues know how many messages they hold."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._admins: dict[str, CountingAdmin] = {}

    def admin(self, name: str) -> CountingAdmin:
        if name not in self._admins:
            connection = self._connection(name)
            self._admins[name] = CountingAdmin(connection, exactly_once=self.exactly_once)
        return self._admins[name]

    def close(self) -> None:
        for admin in self._admins.values():
            admin.close()
        self._admins.clear()

    def _connection(self, name: str) -> Connection:
        return PatientConnection(Names(name, str(self.project_id)), self.endpoint_url)


class CountingAdmin(PubSubAdmin):
    """Counts messages, which Pub/Sub itself doesn't.

    A second subscription of the topic, the twin, gets all messages as well. Set back to a
    snapshot of the first it has exactly those that are not acknowledged there, leased or not.
    """

    _numbers = itertools.count()

    def __init__(self, connection: Connection, *, exactly_once: bool) -> None:
        super().__init__(connection, exactly_once=exactly_once)
        self._way = connection
        self._own = connection.names.subscription
        self._twin = f"{self._own}-twin"
        self._looked = -math.inf

    def create(self, spec: QueueSpec) -> bool:
        made = super().create(spec)
        if made:
            fields = {"name": self._twin, "topic": self._way.names.topic}
            self._way.request("subscription", "create_subscription", fields)
        return made

    def delete(self) -> bool:
        self._way.request("subscription", "delete_subscription", {"subscription": self._twin})
        return super().delete()

    def close(self) -> None:
        self._way.close()

    def depth(self) -> Depth:
        """Count; what is visible is delivered to us by that, and given back at once."""
        count = len(self._not_acknowledged())
        visible = self._look() if count else 0
        return Depth(visible, count - visible, exact=True)

    def _not_acknowledged(self) -> list[str]:
        project = self._way.names.project
        snapshot = f"projects/{project}/snapshots/depth-{os.getpid()}-{next(self._numbers)}"
        ask = self._way.request
        ask("subscription", "create_snapshot", {"name": snapshot, "subscription": self._own})
        ask("subscription", "seek", {"subscription": self._twin, "snapshot": snapshot})
        ask("subscription", "delete_snapshot", {"snapshot": snapshot})
        return self._pulled(self._twin)

    def _look(self) -> int:
        # What is given back is seen some moments later, and what is delivered too often is moved
        # to where nobody gets it: so whoever looks again and again is slowed down.
        time.sleep(max(0.0, self._looked + _BETWEEN_LOOKS - time.monotonic()))
        visible = self._pulled(self._own)
        if visible:
            fields = {"subscription": self._own, "ack_ids": visible, "ack_deadline_seconds": 0}
            self._way.request("subscription", "modify_ack_deadline", fields)
        self._looked = time.monotonic()
        return len(visible)

    def _pulled(self, subscription: str) -> list[str]:
        pulled: list[str] = []

        def pull(fields: dict[str, Any]) -> Any:
            return self._way.request("subscription", "pull", fields)

        while answer := at_once(pull, subscription):
            pulled += [received.ack_id for received in answer]
        return pulled


class OwnEmulator:
    """An emulator that a test may kill; it forgets everything then.

    Attributes:
        address: where it listens, also after a restart.
    """

    def __init__(self, folder: Path) -> None:
        jar, java = pubsub._jar(), shutil.which("java")
        if jar is None or java is None:
            pytest.skip("only an emulator of our own can be killed: set PUBSUB_EMULATOR_JAR")
        port = pubsub._free_port()
        self.address = f"127.0.0.1:{port}"
        self._command = [java, *pubsub._JAVA_OPTIONS, "-jar", str(jar)]
        self._command += ["--host=127.0.0.1", f"--port={port}"]
        self._log = folder / "emulator.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns when it answers."""
        words = [sys.executable, "-c", pubsub._DIE_WITH_PARENT, str(os.getpid()), *self._command]
        with self._log.open("ab") as output:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._process = process
        eventually(
            lambda: process.poll() is not None or pubsub._answers(self.address),
            _START_LIMIT,
            what="an answer of the emulator",
        )
        assert process.poll() is None, self._log.read_text()

    def kill(self) -> None:
        """End it; returns when it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def own_emulator(folder: Path) -> Iterator[OwnEmulator]:
    """Give an emulator that runs; its log is in *folder*."""
    emulator = OwnEmulator(folder)
    try:
        emulator.start()
        yield emulator
    finally:
        emulator.kill()
