"""Kill one of three workers of ``--exit-when-done``; the others must leave when all is done.

It needs the servers of ``queue_requests``; the fake queues it serves itself. Each trial makes a
queue of short tasks, and some that last longer than a lease, and kills a worker with SIGKILL when
a random number of tasks have begun. It prints a line a trial, and fails if at the end of the last
worker a task had not ended, or if a worker ended with another code than 0.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import served_queue
from benchmarks.checkout import environment, wait_until
from cloud_tasks import registry
from cloud_tasks.queues.base import Outgoing, QueueProvider, QueueSpec, dead_name, events_name
from cloud_tasks.testing.fake_queue import FakeProvider

TASKS = 40
SLOTS = 2
WORKERS = 3
SECONDS = 0.15
#: Seconds of a lease, by provider: the shortest that it allows and that a busy machine can keep.
LEASE = {served_queue.NAME: 2, "AWS": 3, "GCP": 10}
#: Leases that every tenth task lasts.
LONG = 1.5
#: Seconds within which all workers must have ended.
LIMIT = 300.0


@dataclass
class Site:
    """A provider, as this process and its workers reach it."""

    kind: str
    provider: QueueProvider
    flags: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)


@contextlib.contextmanager
def site(kind: str, endpoint: str | None) -> Iterator[Site]:
    """Give the provider *kind*, whose server is at *endpoint*; None: it is served here."""
    if endpoint is not None:
        provider = registry.load("queue", kind)(project_id="bench", endpoint_url=endpoint)
        yield Site(kind, provider, ["--project-id", "bench", "--endpoint-url", endpoint])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with served_queue.serve(folder) as (fake, variables):
            yield Site(kind, FakeProvider(fake), variables=variables, paths=[str(folder)])


class Trial:
    """One job and its workers; files are in *folder*."""

    def __init__(self, place: Site, folder: Path, chance: random.Random) -> None:
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self._site, self._folder = place, folder
        self._notes = folder / "notes"
        self._lease = LEASE[place.kind]
        self._kill_at = chance.randrange(1, TASKS)
        for name in (dead_name(self.name), self.name, events_name(self.name)):
            place.provider.admin(name).create(QueueSpec(lease=self._lease))
        queue = place.provider.queue(self.name)
        messages = [Outgoing(json.dumps(task).encode(), task["task_id"]) for task in self._tasks()]
        assert queue.send(messages) == []

    def _tasks(self) -> Iterator[dict[str, Any]]:
        for number in range(TASKS):
            seconds = LONG * self._lease if number % 10 == 9 else SECONDS
            data = {"seconds": seconds, "notes": str(self._notes)}
            yield {"task_id": f"t{number}", "data": data}

    def run(self) -> str:
        """Run the workers; return the line of the trial."""
        workers = [self._worker(number) for number in range(WORKERS)]
        try:
            wait_until(lambda: len(self._noted("began")) >= self._kill_at, LIMIT, "begun tasks")
            workers[0].send_signal(signal.SIGKILL)
            killed = time.monotonic()
            codes = [worker.wait(LIMIT) for worker in workers[1:]]
            took = time.monotonic() - killed
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        missing = TASKS - len(set(self._noted("ended")))
        assert missing == 0, f"{missing} of {TASKS} tasks had not ended; see {self._folder}"
        assert codes == [0] * (WORKERS - 1), codes
        twice = len(self._noted("ended")) - TASKS
        return (
            f"killed after {self._kill_at} of {TASKS} tasks had begun; all done, {twice} twice; "
            f"the last worker left {took:.1f} s later"
        )

    def _worker(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cloud_tasks", "worker"]
        command += ["benchmarks.tasks:note_begin_and_end"]
        command += ["--provider", self._site.kind, "--queue-name", self.name, *self._site.flags]
        command += ["--num-simultaneous-tasks", str(SLOTS), "--lease", str(self._lease)]
        command += ["--exit-when-done"]
        mine = environment()
        mine["PYTHONPATH"] = os.pathsep.join([*self._site.paths, mine["PYTHONPATH"]])
        with (self._folder / f"worker-{number}").open("wb") as output:
            return subprocess.Popen(
                command, env={**mine, **self._site.variables}, stdout=output, stderr=output
            )

    def _noted(self, what: str) -> list[str]:
        text = self._notes.read_text() if self._notes.exists() else ""
        words = [line.split() for line in text.split("\n")[:-1]]
        return [task_id for noted, task_id in words if noted == what]


def trial(place: Site, chance: random.Random) -> str:
    """Make one trial; return its line. Where it fails, the output of the workers stays."""
    folder = Path(tempfile.mkdtemp())
    line = Trial(place, folder, chance).run()
    shutil.rmtree(folder)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aws", metavar="URL")
    parser.add_argument("--gcp", metavar="HOST:PORT")
    parser.add_argument("--no-fake", action="store_true", help="leave the fake queues out")
    parser.add_argument("--count", type=int, default=20, help="trials for each provider")
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = random.randrange(10**6) if args.seed is None else args.seed
    print(f"--seed {seed}", flush=True)
    chance = random.Random(seed)
    kinds = [(served_queue.NAME, None)] if not args.no_fake else []
    kinds += [(kind, url) for kind, url in (("AWS", args.aws), ("GCP", args.gcp)) if url]
    for kind, endpoint in kinds:
        with site(kind, endpoint) as place:
            for number in range(1, args.count + 1):
                print(f"{kind} {number}: {trial(place, chance)}", flush=True)


if __name__ == "__main__":
    main()
