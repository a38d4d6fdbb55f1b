"""Measure the report of a long run: seconds, memory, size of the page.

It writes an event log of N events, like that of a run on two machines with 16 slots each, and runs
`cloud_tasks report` on it in its own process. ``floor`` is the time to read the log and decode its
lines.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cloud_tasks.events.reading import EventReader
from cloud_tasks.timestamps import timestamp

_HOSTS, _SLOTS = 2, 16
_BEGAN = 1_795_289_264.0
_RAISED = (
    "Traceback (most recent call last):\n"
    '  File "/home/user/project/pipeline.py", line 88, in process_task\n'
    "    header = read_header(path)\n"
    '  File "/home/user/project/cubes.py", line 31, in read_header\n'
    '    raise ValueError(f"bad header in img_{number}")\n'
    "ValueError: bad header in img_%d\n"
)


def events(count: int) -> Iterator[str]:
    """Generate the lines of a log: uneven run times, a few failures of five kinds, some retries."""
    rng = random.Random(20261121)
    free = [_BEGAN + 1.5 + 0.1 * n for n in range(_HOSTS * _SLOTS)]
    for number in range(count):
        slot = min(range(len(free)), key=free.__getitem__)
        run_time = rng.lognormvariate(-3.4, 0.6) * (40 if rng.random() < 0.002 else 1)
        began = free[slot] + 0.0004
        free[slot] = began + run_time
        kind, detail = _end(rng, number)
        event = {
            "timestamp": timestamp(free[slot] + 0.0002),
            "hostname": f"node-{slot // _SLOTS}.example",
            "event_type": kind,
            "task_id": f"task-{number:07d}",
            "elapsed_time": round(run_time + 0.0006, 6),
            "retry": detail.pop("retry", False),
            **detail,
            "event_id": f"3f9c01aa77d2-{number}",
            "slot": slot % _SLOTS,
            "started": timestamp(began),
            "run_time": round(run_time, 6),
            "cpu_time": round(run_time * rng.uniform(0.7, 1.0), 6),
            "max_rss_mb": round(rng.lognormvariate(4.4, 0.4), 1),
            "attempt": 1 if rng.random() < 0.998 else 2,
            "data_digest": "q83vEjRWeJA=",
        }
        yield json.dumps(event)


def _end(rng: random.Random, number: int) -> tuple[str, dict[str, object]]:
    chance = rng.random()
    if chance < 0.0003:
        return "task_exception", {"exception": _RAISED % number, "retry": rng.random() < 0.5}
    if chance < 0.0004:
        return "task_timed_out", {}
    if chance < 0.0005:
        return "task_exited", {"exit_code": rng.choice([-11, -9, 3])}
    return "task_completed", {"result": f"{number * 37 % 1000}"}


def measure(log: Path, page: Path) -> dict[str, float]:
    """Make the report in a separate process and return its figures."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "cloud_tasks", "report", str(log), "-o", str(page)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_rss_mb": after.ru_maxrss / 1024,
        "page_bytes": page.stat().st_size,
    }


def floor(log: Path) -> float:
    """Return the seconds that decoding all lines takes."""
    began = time.monotonic()
    for _ in EventReader(log):
        pass
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument(
        "--keep", type=Path, help="file of the log; it is written if it does not exist"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = args.keep or Path(folder, "events.jsonl")
        if not log.exists():
            with log.open("w") as file:
                file.writelines(f"{line}\n" for line in events(args.events))
        print(f"log: {args.events:,} events, {log.stat().st_size / 1e6:,.0f} MB", flush=True)
        for name, value in measure(log, Path(folder, "report.html")).items():
            print(f"{name:>12}  {value:,.1f}")
        print(f"{'floor':>12}  {floor(log):,.1f}")


if __name__ == "__main__":
    main()
