"""Send 100 tasks through a queue, with a spot notice on the way, all on this machine.

    tasks.jsonl ─► load_queue ─► ┌───────────┐ ─► worker 1: spot notice, exit code 75
                                 │ moto, our │ ─► worker 2: the rest, exit code 0
      the sum ◄─ events.log ◄─── │ SQS here  │ ◄─ events of both
                                 └───────────┘
                 monitor_event_queue

Everything but the sum is done by commands of cloud_tasks, as on machines in a cloud, and a few
variables say which queue is meant. SQS is played by ``moto_server``, in a process of its own.

moto's queues have no locks: a message that is sent while another one is deleted may be lost, and
of two that receive at once both may get a message. So events are collected only while no worker
sends any, and one worker runs at a time. A task that comes twice all the same, as SQS allows, is
counted once, by its id.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloud_tasks.cli.primes import prime_tasks

#: A task takes about a tenth of a second, so that the notice finds some running.
LIMIT = 2**31
#: The number of primes below that; OEIS A007053.
KNOWN_ANSWER = 105_097_565
#: moto gets slow when more messages than this wait in a queue, and can't feed more slots.
TASKS, MOST_SLOTS = 100, 4

NEEDED = ("boto3", "moto", "flask", "flask_cors", "werkzeug")
INSTALL = f"pip install -r {Path(__file__).with_name('requirements.txt')}"
SPOT, WRONG, USAGE, TROUBLE = 75, 1, 2, 4
#: Seconds that a process gets to end by itself after a SIGTERM; at the second one a worker kills
#: its tasks.
PATIENCE = 3.0
#: Seconds until the stand-in must listen on a machine with much else to do.
START = 60.0

#: Run a module, and kill this process when the pipe at its standard input closes: however the
#: example ends, by SIGKILL even, its processes end with it.
TETHERED = """
import os, runpy, signal, sys, threading
def watch():
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


class StoppedError(Exception):
    """A signal asked for the end."""


class BrokenError(Exception):
    """A process ended that should not have, or not so."""


class Processes:
    """Start the processes of the example and end them; a context manager.

    Each is in a session of its own: Ctrl-C reaches the example alone, which ends them in order.
    """

    def __init__(self, folder: Path) -> None:
        #: The number of the signal that asked for the end.
        self.stopped_by: int | None = None
        self._folder = folder
        self._variables = environment()
        self._stand_in: subprocess.Popen[str] | None = None
        self._log = folder / "moto.log"
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "Processes":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _on_signal(self, number: int, _: object) -> None:
        # Nothing is raised here: Python drops what is raised within an import, say.
        self.stopped_by = number

    def check(self) -> None:
        """Raise if a signal has come, or the stand-in has ended."""
        if self.stopped_by is not None:
            raise StoppedError
        if self._stand_in is not None and self._stand_in.poll() is not None:
            last = self._log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise BrokenError(
                f"the stand-in for SQS ended with exit code {self._stand_in.returncode}"
                + (f", saying: {last[:500]!r}" if last else "")
            )

    def start_stand_in(self) -> str:
        """Start ``moto_server`` at a free port of this machine; returns its URL when it listens."""
        with self._log.open("w") as log:
            self._stand_in = self._start("moto.server", "-p", "0", stdout=log, stderr=log)
        deadline = time.monotonic() + START
        while True:
            found = re.search(r"http://127\.0\.0\.1:\d+", self._log.read_text(errors="replace"))
            if found is not None:
                self._variables["RMS_CLOUD_TASKS_ENDPOINT_URL"] = found[0]
                return found[0]
            self.check()
            if time.monotonic() > deadline:
                raise BrokenError(f"the stand-in for SQS does not listen within {START:g} s")
            time.sleep(0.05)

    def run(self, name: str, *words: str, expected: int = 0, silent: bool = False) -> str:
        """Run ``cloud_tasks`` with *words* and wait for it; returns what it printed, if *silent*.

        Args:
            name: of it, for errors.
            words: the command line.
            expected: its exit code.
            silent: its standard output is returned; else it goes to our standard error.
        """
        output = subprocess.PIPE if silent else sys.stderr
        process = self._start("cloud_tasks", *words, stdout=output)
        while process.poll() is None:
            self.check()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        self.check()
        if process.returncode != expected:
            raise BrokenError(f"{name} ended with exit code {process.returncode}")
        return process.stdout.read() if process.stdout is not None else ""

    def _start(self, module: str, *words: str, **streams: Any) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", TETHERED, module, *words],
            stdin=subprocess.PIPE,
            text=True,
            cwd=self._folder,  # the first place where Python looks for modules
            env=self._variables,
            start_new_session=True,
            **streams,
        )
        self._open.callback(end, process)
        return process


def end(process: "subprocess.Popen[str]") -> None:
    """End *process*: a worker by two signals, whatever does not obey by SIGKILL."""
    for _ in range(2):
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
    process.kill()
    process.communicate()  # closes the pipes


def environment() -> dict[str, str]:
    """Return variables for the processes: our queue, and nothing that leads away from here.

    The user's settings of AWS, of workers and of proxies do not count.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "MOTO_", "RMS_CLOUD_"))
        and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "RMS_CLOUD_TASKS_PROVIDER": "AWS",
        "RMS_CLOUD_TASKS_JOB_ID": "demo",
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
        "no_proxy": "*",
    }


class Account:
    """What the events of a file say; an event that is there twice counts once.

    Attributes:
        types: how many events of each type there are.
        results: of the tasks that are done, by task id.
        repeats: how often a worker did a task that was done.
    """

    def __init__(self, file: Path) -> None:
        self.types: Counter[str] = Counter()
        self.results: dict[str, int] = {}
        self.repeats = 0
        for event in self._events(file):
            self.types[event["event_type"]] += 1
            if event["event_type"] == "task_completed" and not event["retry"]:
                self.repeats += event["task_id"] in self.results
                self.results[event["task_id"]] = event["result"]

    @staticmethod
    def _events(file: Path) -> Iterator[dict[str, Any]]:
        seen = set()
        for line in file.read_text().splitlines() if file.exists() else []:
            event = json.loads(line)
            if event["event_id"] not in seen:
                seen.add(event["event_id"])
                yield event

    @property
    def total(self) -> int:
        """The sum of the results: the answer."""
        return sum(self.results.values())

    @property
    def is_right(self) -> bool:
        """Each task is done, and the answer is the known one."""
        return len(self.results) == TASKS and self.total == KNOWN_ANSWER


class Demo:
    """Load the queue, run two workers, and keep account of what they did."""

    def __init__(self, processes: Processes, folder: Path, notice_after: float | None) -> None:
        self._processes = processes
        self._folder = folder
        self._notice_after = notice_after
        self._events = folder / "events.log"
        self.account = Account(self._events)
        self.workers: list[dict[str, int]] = []

    def run(self) -> None:
        """Do all of it; raises StoppedError or BrokenError."""
        url = self._processes.start_stand_in()
        say(f"it listens on {url}")
        began = time.monotonic()
        self._load()
        # On slow machines and on fast ones the notice comes when about a third is done.
        after = self._notice_after or min(max(1.75 * (time.monotonic() - began), 0.5), 20.0)
        say(f"first worker: gets a simulated spot notice {after:.1f} s after its start")
        told = self._work(
            "the first worker",
            f"--simulate-spot-termination-after={after:.2f}",
            "--simulate-spot-termination-delay=0",
            expected=SPOT,
        )
        killed = f", {told['killed']} of them killed while running" if told["killed"] else ""
        say(
            f"spot notice: {tasks(told['done'])} done, {told['handed_back']} handed back{killed}; "
            f"exit code {SPOT}"
        )
        say("second worker: goes on with what is in the queue")
        left = f"--max-num-tasks={told['handed_back']}"
        # It ends at the last task; were one missing, it would not wait for it for ever.
        told = self._work("the second worker", left, "--exit-when-idle=120", expected=0)
        say(f"queue empty: {tasks(told['done'])} done by the second worker; exit code 0")

    def _load(self) -> None:
        file = self._folder / "tasks.jsonl"
        file.write_text("".join(f"{json.dumps(task)}\n" for task in prime_tasks(LIMIT, TASKS)))
        self._processes.run("load_queue", "load_queue", str(file), "--max-runtime=60")

    def _work(self, name: str, *flags: str, expected: int) -> dict[str, int]:
        """Run a worker, then collect its events; returns what it did."""
        before = self.account
        slots = f"--num-simultaneous-tasks={min(os.cpu_count() or 1, MOST_SLOTS)}"
        # Signs of life name the machine, and there is no service to be asked for its name.
        common = ["--max-runtime=60", slots, "--keepalive-interval=0"]
        function = "cloud_tasks.cli.primes:count_primes"
        self._processes.run(name, "worker", function, *common, *flags, expected=expected)
        words = ["monitor_event_queue", "--output-file", str(self._events), "--exit-when-idle=1"]
        self._processes.run("monitor_event_queue", *words)
        self.account = Account(self._events)
        shown = json.loads(self._processes.run("show_queue", "show_queue", "--json", silent=True))
        (queue,) = [queue for queue in shown["queues"] if queue["role"] == "tasks"]
        told = {
            "exit_code": expected,
            "done": len(self.account.results) - len(before.results),
            "killed": self.account.types["task_aborted"] - before.types["task_aborted"],
            "handed_back": queue["visible"] or 0,
        }
        self.workers.append(told)
        return told


def tasks(count: int) -> str:
    return f"{count} task{'' if count == 1 else 's'}"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def summary(account: Account, elapsed: float) -> str:
    twice = f"{account.repeats} of them twice" if account.repeats else "none twice"
    done = f"{len(account.results)} of {TASKS} tasks done, {twice}, in {elapsed:.1f} s"
    if not account.is_right:
        return f"{done}\nprimes counted: {account.total:,}; the known value is {KNOWN_ANSWER:,}"
    return f"{done}\nprimes below {LIMIT:,}: {account.total:,} (the known value)"


def report(demo: Demo, elapsed: float) -> str:
    return json.dumps(
        {
            "primes": demo.account.total,
            "known": KNOWN_ANSWER,
            "tasks": TASKS,
            "done": len(demo.account.results),
            "repeats": demo.account.repeats,
            "events": dict(demo.account.types),
            "workers": demo.workers,
            "elapsed": round(elapsed, 3),
        },
        indent=2,
    )


def missing_packages() -> list[str]:
    missing = []
    for name in NEEDED:
        try:
            found = importlib.util.find_spec(name)
        except ImportError:
            found = None
        missing += [] if found is not None else [name]
    return missing


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="queue_demo.py",
        description=f"Count the primes below {LIMIT:,} in {TASKS} tasks that go through a queue: "
        "a stand-in for SQS on this machine, without an account. A first worker gets a simulated "
        "spot notice and hands its tasks back; a second one does the rest. The events tell "
        "whether the sum is the known value.",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--notice-after",
        type=float,
        metavar="SECONDS",
        help="when the first worker gets its notice [default: when about a third is done]",
    )
    args = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="cloud_tasks-queue_demo-") as name,
        Processes(Path(name)) as processes,
    ):
        missing = missing_packages()
        if missing:
            say(f"queue_demo: error: {', '.join(missing)} not installed: {INSTALL}")
            return USAGE
        say("a stand-in for SQS starts on this machine: no account is needed, nothing leaves it")
        demo = Demo(processes, Path(name), args.notice_after)
        try:
            demo.run()
        except BrokenError as error:
            say(f"queue_demo: error: {error}")
            return TROUBLE
        except StoppedError:
            pass
    if processes.stopped_by is not None:
        say("stopped: no process of the demo is left")
        return 128 + processes.stopped_by
    elapsed = time.monotonic() - began
    print(report(demo, elapsed) if args.json else summary(demo.account, elapsed))
    return 0 if demo.account.is_right else WRONG


if __name__ == "__main__":
    sys.exit(main())
