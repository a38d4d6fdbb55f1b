"""``cloud_tasks demo``: count primes on all cores and compare the sum with the known value."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from cloud_tasks.cli.primes import count_primes, prime_tasks
from cloud_tasks.errors import ConfigurationError
from cloud_tasks.worker import Worker

#: The number of primes below 10^8; OEIS A006880.
KNOWN_ANSWER = 5_761_455
_WRONG = 1


def main(argv: list[str]) -> int:
    """Count primes on all cores and compare with the known value; returns the exit code.

    Raises:
        ConfigurationError: with ``--queue``, because the demo of a queue is an example.
    """
    if "--queue" in argv:
        raise ConfigurationError(
            "the demo of a queue is an example: run `python examples/queue_demo/queue_demo.py` in "
            "a checkout of cloud_tasks"
        )
    parser = argparse.ArgumentParser(
        prog="cloud_tasks demo",
        description="Count the primes below 100 million in 1,000 tasks, on all cores, and compare "
        "with the known value. Takes the flags of a worker.",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument(
        "--queue",
        action="store_true",
        help="print where the demo of a queue is: tasks through a queue, with a spot notice, on "
        "this machine and without an account",
    )
    with tempfile.TemporaryDirectory(prefix="cloud_tasks-demo-") as folder:
        events = Path(folder, "events.log")
        parser.set_defaults(event_log_file=str(events), num_simultaneous_tasks="auto")
        # The answer is the sum of the results in the event log, so it must be written.
        args = [*argv, "--event-log-to-file"]
        worker = Worker(count_primes, task_source=prime_tasks, args=args, argparser=parser)
        log = Path(worker.data.event_log_file)
        already = log.stat().st_size if log.exists() else 0
        summary = worker.run()
        total = _sum_of_results(log, already)
    if worker.data.args.json:
        print(json.dumps({"primes": total, "known": KNOWN_ANSWER, **summary.to_dict()}, indent=2))
    elif total == KNOWN_ANSWER:
        print(f"primes below 100,000,000: {total:,} (the known value)")
        print("next: cloud_tasks demo --event-log-file events.log keeps the record of each task")
    else:
        print(f"primes counted: {total:,}; the known value for all tasks is {KNOWN_ANSWER:,}")
    return summary.exit_code or (0 if total == KNOWN_ANSWER else _WRONG)


def _sum_of_results(log: Path, start: int) -> int:
    """Return the sum of the results in *log* from the byte *start* on."""
    total = 0
    with log.open("rb") as lines:
        lines.seek(start)
        for line in lines:
            event = json.loads(line)
            if event["event_type"] == "task_completed":
                total += event["result"]
    return total
