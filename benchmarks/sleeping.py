"""100 sleeping tasks of 0.1 s: how near to the ideal, from the first start to the last event."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from datetime import datetime
from pathlib import Path

from cloud_tasks.worker import Worker
from common import read_events, write_tasks
from tasks import sleep

TASKS = 100
SECONDS = 0.1


def efficiency(slots: int, executor: str) -> float:
    """Return the ideal time as a share of the time taken."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = [{"task_id": str(i), "data": {"seconds": SECONDS}} for i in range(TASKS)]
        file = write_tasks(Path(folder, "tasks.json"), tasks)
        log = Path(folder, "events.log")
        args = ["--task-file", str(file), "--event-log-file", str(log), "--executor", executor]
        Worker(sleep, args=[*args, "--num-simultaneous-tasks", str(slots)]).run()
        events = read_events(log)
    first = min(datetime.fromisoformat(event["started"]) for event in events)
    last = max(datetime.fromisoformat(event["timestamp"]) for event in events)
    return TASKS * SECONDS / slots / (last - first).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--executor", default="loky")
    args = parser.parse_args()
    for slots in (2, 4):
        shares = [efficiency(slots, args.executor) for _ in range(args.rounds)]
        print(
            f"{args.executor}, {slots} slots: median {statistics.median(shares):.1%} of the ideal, "
            f"{min(shares):.1%} to {max(shares):.1%}"
        )


if __name__ == "__main__":
    main()
