"""A job with queues of its own, and real workers on it.

What differs between providers is in :class:`Cloud`; everything else speaks to queues by our own
interface only.
"""

from __future__ import annotations

import abc
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from e2e.program import environment
from servers.moto import unique_name
from servers.relay import Address, Relay

from cloud_tasks.queues.base import (
    Message,
    MessageQueue,
    Outgoing,
    QueueProvider,
    QueueSpec,
    dead_name,
    events_name,
)
from cloud_tasks.queues.sqs.provider import SqsProvider
from cloud_tasks.testing import eventually
from cloud_tasks.testing.queue_harness import arrivals

#: Seconds within which everything here must be over: a worker of Pub/Sub alone may take half a
#: minute to start where much else runs.
WAIT = 120.0
#: Seconds within which what goes back must be seen by others: many, for a machine may stand still
#: meanwhile, and far fewer than the two minutes of a lease that nobody has made shorter.
AT_ONCE = 20.0
#: Seconds that a message is its receiver's where the queue itself says so, as on Pub/Sub: what an
#: answer that came too late took along is back while the test still waits for it.
OWN_LEASE = 10
#: Seconds of a lease that does not end in a test.
LONG = 60.0
#: A line of the worker's log at level WARNING or above, as the console shows it.
_WARNING = re.compile(r"\d\d:\d\d:\d\d (warning|error|critical)\b", re.IGNORECASE)

#: Its tasks do what their data say, and note when they did it. A task that is ``held`` waits
#: until it may go on; all that begin while the file ``hold`` is there are held. The worker has
#: the limits of the test in place of the package's own.
SCRIPT = """
import importlib, json, os, signal, sys, time
from pathlib import Path
from cloud_tasks.worker import Worker

HERE = Path(__file__).parent
NAME = os.environ["WORKER_NAME"]
LONGEST = 400

def note(what, task_id):
    line = {"what": what, "task_id": task_id, "worker": NAME, "at": time.monotonic()}
    with open(HERE / "notes", "ab", buffering=0) as notes:
        notes.write(json.dumps(line).encode() + b"\\n")

def set_limits():
    for place, limit in json.loads(os.environ.get("LIMITS", "{}")).items():
        home, _, name = place.partition(":")
        module = importlib.import_module(f"cloud_tasks.{home}")
        assert hasattr(module, name), place
        setattr(module, name, limit)

def runs_of(task_id):
    # The last line may be on its way.
    lines = (HERE / "notes").read_bytes().split(b"\\n")[:-1]
    return sum(n["what"] == "began" and n["task_id"] == task_id for n in map(json.loads, lines))

def may_go_on():
    return any((HERE / name).exists() for name in ("release", f"release-{NAME}"))

def wait_until_it_may_end(task_id, data, worker_data):
    begun, told = time.monotonic(), set()
    held = data.get("held") or (HERE / "hold").exists()
    if held:
        note("held", task_id)
    while True:
        lasted = time.monotonic() - begun
        if lasted > LONGEST or lasted >= data.get("seconds", 0) and not (held and not may_go_on()):
            return
        for what, is_so in (
            ("asked", worker_data.received_shutdown_request),
            ("noticed", worker_data.received_termination_notice),
        ):
            if is_so and what not in told:
                told.add(what)
                note(what, task_id)
        if "asked" in told and data.get("obeys", True):
            return
        time.sleep(0.005)

def process_task(task_id, data, worker_data):
    note("began", task_id)
    wait_until_it_may_end(task_id, data, worker_data)
    if data.get("raises"):
        raise ValueError("as told")
    if data.get("exits"):
        os._exit(3)
    note("ended", task_id)
    return runs_of(task_id) < data.get("runs", 1), data.get("result", task_id)

if __name__ == "__main__":
    # Ignored before, it would stay so: what a shell starts in the background has it like that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    set_limits()
    Worker(process_task, args=sys.argv[1:]).main()
"""


class Cloud(abc.ABC):
    """All that a provider has of its own.

    Attributes:
        server: where it listens.
        exactly_once: its queues are of that kind.
    """

    server: Address
    exactly_once = False

    @abc.abstractmethod
    def provider(self) -> QueueProvider:
        """Return its queues, for the test itself."""

    @abc.abstractmethod
    def flags(self, server: Address) -> list[str]:
        """Return what tells a worker of the provider, which it reaches at *server*."""

    def environment(self, server: Address) -> dict[str, str]:
        """Return what a worker finds in its environment."""
        return {}

    def take(self, queue: MessageQueue, wait: float = 0.0) -> list[Message]:
        """Return some of what is in *queue*, or comes within *wait* seconds; empty: no more."""
        return queue.receive(queue.limits.receive, wait=wait, lease=LONG)

    def close(self) -> None:  # noqa: B027 - most have none of their own
        """Let go of connections."""


class Sqs(Cloud):
    """AWS, played by moto; credentials are in our own environment."""

    def __init__(self, url: str, *, exactly_once: bool = False) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self.server = host, int(port)
        self.exactly_once = exactly_once

    def provider(self) -> SqsProvider:
        return SqsProvider(endpoint_url=_url(self.server), exactly_once=self.exactly_once)

    def flags(self, server: Address) -> list[str]:
        once = ["--exactly-once-queue"] if self.exactly_once else []
        return ["--provider", "AWS", "--endpoint-url", _url(server), *once]


def _url(server: Address) -> str:
    return f"http://{server[0]}:{server[1]}"


class QueueWorker:
    """A worker of a site, as a process of its own."""

    def __init__(self, site: QueueSite, name: str, words: list[str], env: dict[str, str]) -> None:
        self.name = name
        self.log = site.folder / f"{name}.log"
        self._stderr = site.folder / f"{name}.stderr"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "program.py", "--event-log-file", str(self.log), *words],
                cwd=site.folder,
                env={**environment(), **env, "WORKER_NAME": name},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    def said(self) -> str:
        return self._stderr.read_text()

    def warnings(self) -> list[str]:
        return [line for line in self.said().splitlines() if _WARNING.match(line)]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def lives_for(self, seconds: float) -> None:
        """Let that time go by; it must not end meanwhile."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"it ended with {code}; it said:\n{self.said()}")

    def end(self, within: float = WAIT) -> int:
        """Wait for its end; return the exit code. It must have said nothing ugly."""
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end; it said:\n{self.said()}") from None
        assert "Traceback" not in self.said(), self.said()
        return code

    def kill(self) -> None:
        """End it, however it is; its tasks die with it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def events(self) -> list[dict[str, Any]]:
        """Return what is in its event file, of which it needs ``--event-log-to-file``."""
        text = self.log.read_text()
        assert text == "" or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]


class QueueSite:
    """A job: its three queues, a program, and a folder for all they leave.

    Args:
        folder: for the program and its notes.
        cloud: where the queues are.
    """

    def __init__(self, folder: Path, cloud: Cloud, script: str = SCRIPT) -> None:
        self.folder = folder
        self.cloud = cloud
        self.name = unique_name()
        self._provider = cloud.provider()
        self._queues: dict[str, MessageQueue] = {}
        self._workers: list[QueueWorker] = []
        self._events: list[dict[str, Any]] = []
        (folder / "program.py").write_text(script)
        self.create_all()

    def create_all(self) -> None:
        """Make the three queues."""
        dead = dead_name(self.name)
        self.create(dead, QueueSpec(lease=OWN_LEASE))
        self.create(self.name, QueueSpec(lease=OWN_LEASE, dead_letter=dead))
        self.create(events_name(self.name), QueueSpec(lease=OWN_LEASE))

    def create(self, name: str, spec: QueueSpec) -> None:
        assert self._provider.admin(name).create(spec)

    def delete(self, name: str) -> None:
        assert self._provider.admin(name).delete()

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        for queue in self._queues.values():
            queue.close()
        self.cloud.close()

    # -- tasks

    def load(self, *items: dict[str, Any]) -> list[str]:
        """Send tasks with these data; return their ids, ``t0`` and so on in order of loading."""
        count = len(list(self.folder.glob("loaded-*")))
        (self.folder / f"loaded-{count}").touch()
        ids = [f"t{count}.{n}" for n in range(len(items))]
        tasks = [{"task_id": i, "data": data} for i, data in zip(ids, items, strict=True)]
        self.send(*(json.dumps(task).encode() for task in tasks))
        return ids

    def send(self, *bodies: bytes) -> None:
        """Send messages that need not be tasks."""
        assert not self.queue().send([Outgoing(body, unique_name("key")) for body in bodies])

    def touch(self, name: str) -> None:
        """Let a program see a file of that name: ``hold``, ``release``, ``release-WORKER``."""
        (self.folder / name).touch()

    # -- workers

    def start(
        self,
        *args: str,
        server: Address | Relay | None = None,
        limits: Mapping[str, object] | None = None,
        **env: str,
    ) -> QueueWorker:
        """Start a worker.

        Args:
            *args: its flags.
            server: by which it reaches the queues.
            limits: by ``module:NAME`` within the package, in place of what it says itself.
            **env: of its environment.
        """
        if isinstance(server, Relay):
            server = "127.0.0.1", server.port
        server = server or self.cloud.server
        words = [*self.cloud.flags(server), "--job-id", self.name, *args]
        name = f"worker{len(self._workers)}"
        env = {**self.cloud.environment(server), "LIMITS": json.dumps(limits or {}), **env}
        worker = QueueWorker(self, name, words, env)
        self._workers.append(worker)
        return worker

    @contextmanager
    def relay(self) -> Iterator[Relay]:
        """Give a relay to the server, which the test can break."""
        with Relay(self.cloud.server) as relay:
            yield relay

    # -- what came of it

    def notes(self, what: str, worker: QueueWorker | None = None) -> list[dict[str, Any]]:
        """Return what tasks noted: ``began``, ``held``, ``asked``, ``noticed`` and ``ended``."""
        path = self.folder / "notes"
        text = path.read_text() if path.exists() else ""
        # A line that is being written may be seen in part, where it goes over the end of a page.
        lines = [json.loads(line) for line in text.split("\n")[:-1]]
        return [
            line
            for line in lines
            if line["what"] == what and worker in (None, *_named(self._workers, line["worker"]))
        ]

    def runs(self) -> Counter[str]:
        """Return how often each task was begun."""
        return Counter(note["task_id"] for note in self.notes("began"))

    def until_noted(self, what: str, count: int = 1, worker: QueueWorker | None = None) -> None:
        eventually(
            lambda: len(self.notes(what, worker)) >= count, WAIT, what=f"{count} tasks {what}"
        )

    def events(self, *types: str, wait: float = 0.0) -> list[dict[str, Any]]:
        """Return all that came to the event queue until now, or what of it has such a type.

        Args:
            types: wanted; none: all.
            wait: seconds to wait for a further one.
        """
        queue = self.queue(events_name(self.name))
        while messages := self.cloud.take(queue, wait):
            self._events += [json.loads(message.body) for message in messages]
            assert not queue.ack(messages)
            wait = 0.0
        return [event for event in self._events if not types or event["event_type"] in types]

    def until_events(self, count: int, *types: str) -> list[dict[str, Any]]:
        # The server waits, not this process: there is little to spare of the machine.
        eventually(
            lambda: len(self.events(*types, wait=1.0)) >= count, WAIT, what=f"{count} {types}"
        )
        return self.events(*types)

    def endings(self) -> Counter[tuple[str, str]]:
        """Return how often each task ended how, by the event queue."""
        return Counter((e["task_id"], e["event_type"]) for e in self.events() if "task_id" in e)

    def depth(self) -> tuple[int | None, int | None]:
        """Return how many tasks are visible, and how many are with a worker."""
        depth = self._provider.admin(self.name).depth()
        return depth.visible, depth.in_flight

    def visible(self, count: int, within: float = AT_ONCE) -> list[str]:
        """Take what another worker would get, up to *count* tasks; return their ids in order."""
        return sorted(self.ids(arrivals(self.queue(), count, within=within)))

    def dead(self) -> list[bytes]:
        """Take all from the queue for what was given up."""
        queue = self.queue(dead_name(self.name))
        bodies: list[bytes] = []
        while messages := self.cloud.take(queue):
            bodies += [message.body for message in messages]
            assert not queue.ack(messages)
        return bodies

    def queue(self, name: str | None = None) -> MessageQueue:
        name = name or self.name
        if name not in self._queues:
            self._queues[name] = self._provider.queue(name)
        return self._queues[name]

    @staticmethod
    def ids(messages: list[Message]) -> list[str]:
        return [json.loads(message.body)["task_id"] for message in messages]


def _named(workers: list[QueueWorker], name: str) -> list[QueueWorker]:
    return [worker for worker in workers if worker.name == name]
