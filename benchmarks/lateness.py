"""How late a time limit of 1 s and a crash are known, in milliseconds; never early.

The limit: ``run_time`` of the event, which is counted from the function's call to the known
death, less the limit. The crash: from the moment right before ``SIGKILL`` to the outcome.
"""

from __future__ import annotations

import argparse
import statistics

from cloud_tasks.executors.base import ExecutorOptions
from cloud_tasks.executors.function import specify
from cloud_tasks.outcome import Exited, TimedOut
from cloud_tasks.registry import load
from cloud_tasks.task import Task
from cloud_tasks.worker_data import WorkerData
from tasks import die, sleep

LIMIT = 1.0


def limit(executor: str, tasks: int) -> list[float]:
    """Return by how many milliseconds each task outlived its limit."""
    pool = load("executor", executor)()
    pool.start(specify(sleep), WorkerData(), ExecutorOptions(slots=2))
    task = Task("sleep", {"seconds": 60})
    futures = [pool.submit(task, max_runtime=LIMIT) for _ in range(tasks)]
    outcomes = [future.result() for future in futures]
    pool.shutdown()
    assert all(isinstance(outcome, TimedOut) for outcome in outcomes)
    return [(outcome.measures.run_time - LIMIT) * 1e3 for outcome in outcomes]


def crash(executor: str, tasks: int) -> list[float]:
    """Return how many milliseconds passed from each kill to its outcome, one after the other."""
    pool = load("executor", executor)()
    pool.start(specify(die), WorkerData(), ExecutorOptions(slots=1))
    outcomes = [pool.submit(Task("die", {})).result() for _ in range(tasks)]
    pool.shutdown()
    assert all(isinstance(outcome, Exited) and outcome.exit_code == -9 for outcome in outcomes)
    return [outcome.measures.run_time * 1e3 for outcome in outcomes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=20)
    args = parser.parse_args()
    for executor in ("loky", "spawn"):
        for name, measure in (("limit of 1 s", limit), ("crash", crash)):
            late = measure(executor, args.tasks)
            print(
                f"{executor}, {name}: median {statistics.median(late):.1f} ms late, "
                f"{min(late):.1f} to {max(late):.1f} ({len(late)} tasks)"
            )


if __name__ == "__main__":
    main()
