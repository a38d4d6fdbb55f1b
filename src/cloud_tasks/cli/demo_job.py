"""What ``cloud_tasks demo --queue`` does: load a queue, run two workers, read the events."""

from __future__ import annotations

import functools
import importlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from cloud_tasks import registry
from cloud_tasks.cli.demo_processes import Family, Tethered
from cloud_tasks.cli.load_queue import task_queue_spec
from cloud_tasks.cli.primes import prime_tasks
from cloud_tasks.display.command_output import StatusLine
from cloud_tasks.events.collector import ReceivedEvents
from cloud_tasks.loading.loader import Loader, LoadOptions
from cloud_tasks.queues.base import MessageQueue
from cloud_tasks.queues.job import JobQueues
from cloud_tasks.sources.local import make_source
from cloud_tasks.system import cores
from cloud_tasks.text import duration, plural

#: A task takes about a tenth of a second, so that the notice finds some running.
LIMIT = 2**31
#: The number of primes below that; OEIS A007053.
KNOWN_ANSWER = 105_097_565
#: The stand-in gets slow when more messages than this wait in a queue.
TASKS = 100

#: It can't feed more slots than these either.
_MOST_SLOTS = 4
_MAX_RUNTIME, _MAX_ATTEMPTS = 60.0, 5
#: The time until the spot notice in units of that which loading took, and its bounds in seconds.
#: On slow machines and on fast ones it then comes when about a third of the tasks are done.
_NOTICE_AFTER, _SOONEST, _LATEST = 3.75, 0.5, 20.0
#: Seconds between two looks into the event queue, and those for which its messages are ours.
_PERIOD, _LEASE = 0.25, 60.0
#: Large, and imported only when they are first needed.
_LATE_IMPORTS = ("boto3", "tenacity")
#: Exit code of a worker that has had a spot notice.
_SPOT = 75


@dataclass(slots=True)
class Account:
    """What the events say.

    Attributes:
        received: the events that came; one that comes twice counts once.
        results: of the tasks that are done, by task id.
        repeats: tasks that a worker did though they were done.
    """

    received: ReceivedEvents = field(default_factory=ReceivedEvents)
    results: dict[str, int] = field(default_factory=dict)
    repeats: int = 0

    @property
    def total(self) -> int:
        """The answer, so far."""
        return sum(self.results.values())

    @property
    def is_right(self) -> bool:
        """Each task is done, and the answer is the known one."""
        return len(self.results) == TASKS and self.total == KNOWN_ANSWER

    def counts(self) -> dict[str, int]:
        """Say how far the job is."""
        return {"done": len(self.results), "of": TASKS}

    def read(self, queue: MessageQueue) -> None:
        """Take all events that are in *queue* now."""
        while messages := queue.receive(queue.limits.receive, wait=0, lease=_LEASE):
            for message in messages:
                for line in self.received.new_lines(message.body):
                    self._add(json.loads(line))
            queue.ack(messages)

    def _add(self, event: dict[str, Any]) -> None:
        if event["event_type"] != "task_completed" or event["retry"]:
            return
        if event["task_id"] in self.results:
            self.repeats += 1
        self.results[event["task_id"]] = event["result"]


class QueueDemo:
    """The demo, once the stand-in for SQS is there.

    Args:
        family: of its processes.
        url: of the stand-in.
        verbose: show what the workers say.
        say: prints a line for people.
        hold: gives a context manager in which no signal interrupts.

    Attributes:
        account: what the events say.
        workers: what each worker came to.
    """

    def __init__(
        self,
        family: Family,
        url: str,
        *,
        verbose: bool,
        say: Callable[[str], None],
        hold: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._family = family
        self._url = url
        self._verbose = verbose
        self._say = say
        self._hold = hold
        self._job = JobQueues("AWS", registry.load("queue", "AWS")(endpoint_url=url), "demo")
        self.account = Account()
        self.workers: list[dict[str, int]] = []

    def run(self) -> None:
        """Load the tasks, run one worker until its spot notice, another until none is left.

        Raises:
            CloudTasksError: the stand-in or a worker failed.
        """
        took = self._load()
        self._run_workers(min(max(_NOTICE_AFTER * took, _SOONEST), _LATEST))

    def _load(self) -> float:
        """Make the queues and load the tasks; returns how many seconds it took."""
        began = time.monotonic()
        # Python calls back at the end of each import, and drops what a signal raises in there.
        with self._hold():
            for name in _LATE_IMPORTS:
                importlib.import_module(name)
        source = make_source(functools.partial(prime_tasks, LIMIT, TASKS))
        spec = task_queue_spec(_MAX_RUNTIME, _MAX_ATTEMPTS, None, self._job.dead)
        loader = Loader(self._job, source, LoadOptions(spec=spec))
        with StatusLine(loader.progress) as status:
            loader.run(status.print)
        for line in loader.lines():
            self._say(line)
        return time.monotonic() - began

    def _run_workers(self, notice_after: float) -> None:
        # What the workers say and a line that is rewritten would spoil each other.
        with StatusLine(self.account.counts, rewrite=not self._verbose) as status:
            slots, after = plural(_slots(), "task"), duration(notice_after)
            status.print(f"first worker: {slots} at a time, a spot notice {after} after its start")
            flags = [
                f"--simulate-spot-termination-after={notice_after:.2f}",
                "--simulate-spot-termination-delay=0",
            ]
            told = self._work("the first worker", flags, _SPOT)
            done, killed = plural(told["done"], "task"), told["killed"]
            status.print(
                f"spot notice: {done} done, {told['handed_back']} handed back"
                + (f", {killed} of them killed while running" if killed else "")
                + f"; exit code {_SPOT}"
            )
            status.print("second worker: goes on with what is in the queue")
            told = self._work("the second worker", ["--exit-when-idle=1"], 0)
            done = plural(told["done"], "task")
            status.print(f"queue empty: {done} done by the second worker; exit code 0")

    def _work(self, what: str, flags: Sequence[str], expected: int) -> dict[str, int]:
        done, killed = len(self.account.results), self._killed
        words = ["cloud_tasks.cli.primes:count_primes", *self._flags(), *flags]
        process = self._family.worker(what, words, verbose=self._verbose)
        self._watch(process)
        if process.exit_code != expected:
            raise process.failure()
        depth = self._job.provider.admin(self._job.name).depth()
        told = {
            "exit_code": expected,
            "done": len(self.account.results) - done,
            "killed": self._killed - killed,
            "handed_back": depth.visible or 0,
        }
        self.workers.append(told)
        return told

    @property
    def _killed(self) -> int:
        return self.account.received.types["task_aborted"]

    def _flags(self) -> list[str]:
        return [
            "--provider=AWS",
            f"--queue-name={self._job.name}",
            f"--endpoint-url={self._url}",
            f"--num-simultaneous-tasks={_slots()}",
            f"--max-runtime={_MAX_RUNTIME:g}",
            f"--max-attempts={_MAX_ATTEMPTS}",
            # Signs of life name the instance, and there is none to be asked for its name.
            "--keepalive-interval=0",
        ]

    def _watch(self, process: Tethered) -> None:
        """Read events until *process* has ended, and those that it has left."""
        queue = self._job.provider.queue(self._job.events)
        try:
            ended = False
            while not ended:
                ended = process.ended(within=_PERIOD)
                self.account.read(queue)
        finally:
            queue.close()


def _slots() -> int:
    return min(cores.usable(), _MOST_SLOTS)
