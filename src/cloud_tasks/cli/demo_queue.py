"""``cloud_tasks demo --queue``: tasks through a queue and a spot notice, all on this machine."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence

from cloud_tasks.cli.demo_job import KNOWN_ANSWER, LIMIT, TASKS, Account, QueueDemo
from cloud_tasks.cli.demo_processes import NEEDED, Family, environment
from cloud_tasks.errors import ConfigurationError, QueueError
from cloud_tasks.runtime.signals import signal_handlers
from cloud_tasks.summary import StopReason
from cloud_tasks.text import duration

_WRONG, _INTERRUPTED, _TERMINATED = 1, 130, 143
#: Seconds that a dying process gets to be dead, on a machine with much else to do.
_A_MOMENT = 5.0


class Stopped(BaseException):
    """Raised in the main thread by a signal.

    No KeyboardInterrupt: after one of those within an ``exec`` of the standard library, Python
    kills itself by SIGINT at its end, handled or not.
    """

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


class Interrupts:
    """Makes an exception of each signal, at once or when it does no harm."""

    def __init__(self) -> None:
        self._held = False
        self._asked: StopReason | None = None

    def hear(self, reason: StopReason) -> None:
        """Raise, unless in :meth:`hold`."""
        if not self._held:
            raise Stopped(reason)
        self._asked = reason

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Raise nothing within, but at the end, if there was a signal."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._asked is not None:
            raise Stopped(self._asked)


def main(argv: list[str]) -> int:
    """Run the demo; returns 0 if the answer is right and each task is done.

    Raises:
        ConfigurationError: a package is missing; nothing was started.
        CloudTasksError: a process ended as it should not have.
    """
    args = _parser().parse_args(argv)
    _check_installed()
    interrupts = Interrupts()
    try:
        with signal_handlers(interrupts.hear), _own_environment():
            return _run(interrupts, as_json=args.json, verbose=args.verbose)
    except Stopped as stopped:
        _say("stopped: no process of the demo is left")
        return _INTERRUPTED if stopped.reason is StopReason.SIGINT else _TERMINATED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloud_tasks demo --queue",
        description=f"Count the primes below {LIMIT:,} in {TASKS} tasks that go through a queue: "
        "a stand-in for SQS on this machine, without an account. A first worker gets a simulated "
        "spot notice and hands its tasks back; a second one does the rest. The events tell "
        "whether the sum is the known value. Needs: pip install 'cloud-tasks[demo]'",
    )
    parser.add_argument("--queue", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="show what the workers say, too"
    )
    return parser


def _check_installed() -> None:
    missing = [name for name in NEEDED if not _is_there(name)]
    if missing:
        verb = "isn't" if len(missing) == 1 else "aren't"
        raise ConfigurationError(
            f"demo --queue needs {', '.join(missing)}, which {verb} installed: "
            "pip install 'cloud-tasks[demo]'"
        )
    if os.name != "posix":
        raise ConfigurationError("demo --queue runs on Linux and macOS only; demo runs anywhere")


def _is_there(name: str) -> bool:
    with contextlib.suppress(ImportError):
        return importlib.util.find_spec(name) is not None
    return False


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    before = dict(os.environ)
    ours = environment(before)
    try:
        os.environ.clear()
        os.environ.update(ours)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run(interrupts: Interrupts, *, as_json: bool, verbose: bool) -> int:
    began = time.monotonic()
    _say("a stand-in for SQS starts on this machine: no account is needed, nothing leaves it")
    with Family(interrupts.hold) as family:
        server, url = family.stand_in()
        _say(f"it listens on {url}")
        demo = QueueDemo(family, url, verbose=verbose, say=_say, hold=interrupts.hold)
        try:
            demo.run()
        except QueueError:
            if server.ended(within=_A_MOMENT):
                raise server.failure() from None
            raise
    account = demo.account
    elapsed = time.monotonic() - began
    print(_report(account, demo.workers, elapsed) if as_json else _told(account, elapsed))
    return 0 if account.is_right else _WRONG


def _told(account: Account, elapsed: float) -> str:
    twice = f"{account.repeats} of them twice" if account.repeats else "none twice"
    lines = [f"{len(account.results)} of {TASKS} tasks done, {twice}, in {duration(elapsed)}"]
    if account.is_right:
        lines += [
            f"primes below {LIMIT:,}: {account.total:,} (the known value)",
            "next: cloud_tasks load_queue --help tells how to fill a queue of your own",
        ]
    else:
        lines += [f"primes counted: {account.total:,}; the known value is {KNOWN_ANSWER:,}"]
    return "\n".join(lines)


def _report(account: Account, workers: Sequence[dict[str, int]], elapsed: float) -> str:
    report = {
        "primes": account.total,
        "known": KNOWN_ANSWER,
        "tasks": TASKS,
        "done": len(account.results),
        "repeats": account.repeats,
        "events": dict(account.received.types),
        "workers": workers,
        "elapsed": round(elapsed, 3),
    }
    return json.dumps(report, indent=2)
