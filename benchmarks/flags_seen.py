"""Measure the delay from a signal or a spot notice until a running task sees its flag."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from benchmarks.checkout import environment
from benchmarks.files import read_events, write_tasks

#: A signal, or None for a notice; and the flag of ``worker_data`` that it sets.
CAUSES = {
    "SIGTERM": (signal.SIGTERM, "received_shutdown_request"),
    "SIGINT": (signal.SIGINT, "received_shutdown_request"),
    "spot notice": (None, "received_termination_notice"),
}
#: Seconds from the start of a worker to its simulated notice.
NOTICE_AFTER = 1.0


def lateness(executor: str, cause: str) -> float:
    """Return the milliseconds until the task saw its flag."""
    number, flag = CAUSES[cause]
    with tempfile.TemporaryDirectory() as folder:
        begun, log = Path(folder, "begun"), Path(folder, "events.log")
        data = {"begun": str(begun), "flag": flag}
        tasks = write_tasks(Path(folder, "tasks.json"), [{"task_id": "waits", "data": data}])
        command = [sys.executable, "-m", "cloud_tasks", "worker", "benchmarks.tasks:wait_for_flag"]
        command += ["--task-file", str(tasks), "--event-log-file", str(log), "--executor", executor]
        if number is None:
            command += ["--simulate-spot-termination-after", str(NOTICE_AFTER)]
        with subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL) as worker:
            while not begun.exists():
                time.sleep(0.001)
            sent = time.time()
            if number is not None:
                worker.send_signal(number)
        events = {event["event_type"]: event for event in read_events(log)}
    if number is None:
        sent = datetime.fromisoformat(events["spot_termination"]["timestamp"]).timestamp()
    seen: float = events["task_completed"]["result"]
    return 1000 * (seen - sent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--executors", nargs="+", default=["loky", "spawn"])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = {}
    for executor in args.executors:
        for cause in CAUSES:
            times = [lateness(executor, cause) for _ in range(args.rounds)]
            figures[f"{executor}, {cause}"] = times
            print(
                f"{executor:>6}, {cause:>11}: median {statistics.median(times):.1f} ms, "
                f"{min(times):.1f} to {max(times):.1f}",
                file=sys.stderr,
            )
    if args.json:
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
