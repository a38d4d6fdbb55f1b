"""Measure how the tasks of a worker that ends come back, or are run by another worker.

It needs the servers of ``queue_requests``. It prints for each provider, over some rounds:

* SIGTERM while one request waits for messages and many tasks are prefetched: the seconds from the
  end of the worker until another one has received every task that it had not run;
* SIGKILL of one of two workers: the number of tasks that ran twice, and of tasks that it held.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

from benchmarks.checkout import environment
from cloud_tasks import registry
from cloud_tasks.queues.base import Outgoing, QueueProvider, QueueSpec, dead_name, events_name

TASKS = 60
SECONDS = 0.2
SLOTS = 4
#: Seconds of a lease, after which the tasks of a killed worker come back.
LEASE = {"AWS": 3, "GCP": 10}


class Job:
    """The queues of one job, filled with tasks, and their workers."""

    def __init__(self, kind: str, endpoint: str, folder: Path) -> None:
        self.name = f"bench-{uuid.uuid4().hex[:8]}"
        self.kind, self.endpoint, self.folder = kind, endpoint, folder
        made: QueueProvider = registry.load("queue", kind)(
            project_id="bench", endpoint_url=endpoint
        )
        self.provider = made
        for name in (dead_name(self.name), self.name, events_name(self.name)):
            made.admin(name).create(QueueSpec(lease=LEASE[kind]))
        data = {"seconds": SECONDS, "notes": str(folder / "notes")}
        bodies = [json.dumps({"task_id": f"t{n}", "data": data}) for n in range(TASKS)]
        letters = [Outgoing(body.encode(), body) for body in bodies]
        assert made.queue(self.name).send(letters) == []

    def worker(self, *args: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        command = [sys.executable, "-m", "cloud_tasks", "worker", "benchmarks.tasks:note_and_sleep"]
        command += ["--provider", self.kind, "--project-id", "bench", "--queue-name", self.name]
        command += ["--endpoint-url", self.endpoint, "--num-simultaneous-tasks", str(SLOTS)]
        command += ["--lease", str(LEASE[self.kind]), *args]
        return subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)

    def runs(self) -> Counter[str]:
        """Count how often each task started."""
        notes = self.folder / "notes"
        return Counter(notes.read_text().split() if notes.exists() else [])

    def until_begun(self, count: int) -> None:
        """Wait until the given number of tasks have started."""
        while len(self.runs()) < count:
            time.sleep(0.01)


def handed_back(job: Job) -> str:
    """Stop a working worker; return when another one could receive all remaining tasks."""
    with job.worker() as worker:
        job.until_begun(2 * SLOTS)
        worker.send_signal(signal.SIGTERM)
        worker.wait()
        ended = time.monotonic()
        left = TASKS - len(job.runs())
        queue, got = job.provider.queue(job.name), 0
        while got < left:
            got += len(queue.receive(queue.limits.receive, wait=1.0, lease=60.0))
            assert time.monotonic() - ended < 2 * LEASE[job.kind], (got, left)
    return f"{left} tasks received {time.monotonic() - ended:.2f} s after its end"


def done_by_another(job: Job) -> str:
    """Kill one of two workers; return how many tasks ran twice."""
    idle = str(2 * LEASE[job.kind])
    with job.worker() as killed, job.worker("--exit-when-idle", idle) as survivor:
        job.until_begun(TASKS // 2)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert survivor.wait() == 0, survivor.returncode
    runs = job.runs()
    assert len(runs) == TASKS
    twice = sum(count > 1 for count in runs.values())
    assert max(runs.values()) <= 2
    return f"all {TASKS} done, {twice} of them twice ({SLOTS} slots in each of two workers)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aws", metavar="URL")
    parser.add_argument("--gcp", metavar="HOST:PORT")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for kind, endpoint in (("AWS", args.aws), ("GCP", args.gcp)):
        for way in (handed_back, done_by_another) if endpoint else ():
            for _ in range(args.rounds):
                with tempfile.TemporaryDirectory() as folder:
                    print(f"{kind} {way.__name__}: {way(Job(kind, endpoint, Path(folder)))}")


if __name__ == "__main__":
    main()
