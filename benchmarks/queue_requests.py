"""Count the requests that a worker makes per task: receive, acknowledge, send the event.

It needs a server of each provider on this machine: give the address of an SQS server by ``--aws
URL`` (``moto_server``, with dummy credentials in the environment) and that of the Pub/Sub emulator
by ``--gcp HOST:PORT``. Tasks are fed while the worker runs, so that the queues stay short: moto's
time for a message grows with their length. The loop of rms-cloud-tasks is measured in the same run
with the same adapters: up to five tasks per receive, then one request for each event and each
acknowledgement.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from benchmarks.tasks import sleep
from cloud_tasks import registry
from cloud_tasks.queues.base import (
    Message,
    MessageQueue,
    Outgoing,
    QueueProvider,
    QueueSpec,
    dead_name,
    events_name,
)
from cloud_tasks.worker import Worker

SLOTS = 4
#: Largest number of messages in the queue.
DEPTH = 80
COUNTED = ("receive", "ack", "send")


class Job:
    """The queues of one job, filled and emptied by connections of their own."""

    def __init__(self, kind: str, endpoint: str, mean: float, tasks: int) -> None:
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self.kind, self.endpoint, self.tasks = kind, endpoint, tasks
        for name in (dead_name(self.name), self.name, events_name(self.name)):
            self.provider().admin(name).create(QueueSpec())
        chance = random.Random(mean)
        self._seconds = [mean * chance.uniform(0.5, 1.5) for _ in range(tasks)]
        self._sent = 0
        self.seen = 0
        self._feeder = threading.Thread(target=self._feed, daemon=True)

    def provider(self) -> QueueProvider:
        """Return a provider with its own connections."""
        made: QueueProvider = registry.load("queue", self.kind)(
            project_id="bench", endpoint_url=self.endpoint
        )
        return made

    def start(self) -> None:
        """Fill the queue, and keep it filled."""
        self._top_up(self.provider().queue(self.name))
        self._feeder.start()

    def _top_up(self, queue: MessageQueue) -> None:
        # In tens, like a backlog; otherwise the feeder would cause short answers.
        wanted = min(self.tasks, (self.seen + DEPTH) // 10 * 10)
        batch = [
            Outgoing(
                json.dumps({"task_id": f"t{n}", "data": {"seconds": self._seconds[n]}}).encode(),
                f"t{n}",
            )
            for n in range(self._sent, wanted)
        ]
        if batch:
            assert queue.send(batch) == []
            self._sent = wanted

    def _feed(self) -> None:
        queue = self.provider().queue(self.name)
        events = self.provider().queue(events_name(self.name))
        while self.seen < self.tasks:
            messages = events.receive(10, wait=1.0, lease=60.0)
            events.ack(messages)
            self.seen += sum(b'"task_completed"' in message.body for message in messages)
            self._top_up(queue)

    def join(self) -> None:
        """Wait until every task has an event."""
        self._feeder.join(30)
        assert self.seen == self.tasks, (self.seen, self.tasks)


class _Requests(logging.Handler):
    """Sums the requests that queues report when they are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("requests to") and isinstance(record.args, tuple):
            counts: Any = record.args[1]
            self.counts.update(counts)


def ours(job: Job) -> Counter[str]:
    """Run a worker on *job*; return its requests."""
    handler, root = _Requests(), logging.getLogger()
    for name in ("cloud_tasks.sources.cloud_queue.source", "cloud_tasks.events.queue"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    args = ["--provider", job.kind, "--project-id", "bench", "--endpoint-url", job.endpoint]
    args += ["--queue-name", job.name, "--num-simultaneous-tasks", str(SLOTS)]
    args += ["--max-num-tasks", str(job.tasks), "--keepalive-interval", "0"]
    try:
        Worker(sleep, args=args).run()
    finally:
        root.removeHandler(handler)
    return handler.counts


def peers(job: Job) -> Counter[str]:
    """Run the peer's loop on *job*, with threads in place of processes; return its requests."""
    queue, events = job.provider().queue(job.name), job.provider().queue(events_name(job.name))
    done = 0
    running: dict[Future[None], Message] = {}
    with ThreadPoolExecutor(SLOTS) as pool:
        while done < job.tasks:
            free = SLOTS - len(running)
            if free:
                for message in queue.receive(min(5, free), wait=1.0, lease=600.0):
                    seconds = json.loads(message.body)["data"]["seconds"]
                    running[pool.submit(time.sleep, seconds)] = message
            ended, _ = wait(running, timeout=0.1, return_when=FIRST_COMPLETED)
            for future in ended:
                message = running.pop(future)
                events.send([Outgoing(b'{"event_type": "task_completed"}', uuid.uuid4().hex)])
                queue.ack([message])
                done += 1
    return queue.requests + events.requests


def measure(
    way: Callable[[Job], Counter[str]], kind: str, endpoint: str, mean: float, tasks: int
) -> float:
    """Return the requests per task."""
    job = Job(kind, endpoint, mean, tasks)
    job.start()
    counts = way(job)
    job.join()
    shown = ", ".join(f"{name} {counts[name] / tasks:.2f}" for name in COUNTED)
    others = {name: n for name, n in counts.items() if name not in COUNTED}
    total = sum(counts[name] for name in COUNTED) / tasks
    print(f"{kind} {mean:g} s {way.__name__:>6}: {total:.2f} a task ({shown}); besides {others}")
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aws", metavar="URL")
    parser.add_argument("--gcp", metavar="HOST:PORT")
    parser.add_argument("--tasks", type=int, default=240)
    parser.add_argument("--means", type=float, nargs="+", default=[0.3, 0.05])
    args = parser.parse_args()
    for kind, endpoint in (("AWS", args.aws), ("GCP", args.gcp)):
        for mean in args.means if endpoint else ():
            mine = measure(ours, kind, endpoint, mean, args.tasks)
            other = measure(peers, kind, endpoint, mean, args.tasks)
            print(f"{kind} {mean:g} s: the peer's loop makes {other / mine:.1f} x as many")


if __name__ == "__main__":
    main()
