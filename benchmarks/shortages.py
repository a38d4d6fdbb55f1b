"""Take from a worker what its processes need, for some seconds; check that all tasks are done.

full    the process table of its user is full for six seconds (needs root, to run as another user)
kills   five of its children are killed while they boot
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.files import write_tasks
from benchmarks.marked import MarkedWorker, count_bad, ends_of_tasks, marked_worker

EXECUTORS = ("loky", "spawn", "forkserver")
_TASKS = 60
#: Seconds for which the process table is full.
_FULL = 6.0
_MAX_PROCESSES = 100
_KILLS, _SLOTS = 5, 8

#: The limit does not count for root. The interpreter may be in a folder that others can't read.
_AS_USER = (
    "prlimit --nproc={limit}:{limit} setpriv --reuid {user} --clear-groups "
    "--inh-caps=+dac_override --ambient-caps=+dac_override"
)
_FILL = """
import os, time
end = time.monotonic() + 600
while time.monotonic() < end:
    try:
        pid = os.fork()
    except OSError:
        print("full", flush=True)
        time.sleep(0.001)
        continue
    if not pid:
        time.sleep(600)
"""


def as_user(user: int) -> list[str]:
    """Return the beginning of a command that *user* runs, with a limit of processes."""
    return _AS_USER.format(user=user, limit=_MAX_PROCESSES).split()


@contextlib.contextmanager
def process_table_full(user: int) -> Iterator[None]:
    """Fill the process table of *user* until the end of the context."""
    with subprocess.Popen(
        [*as_user(user), sys.executable, "-S", "-c", _FILL],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as filler:
        assert filler.stdout is not None
        try:
            filler.stdout.readline()
            yield
        finally:
            os.killpg(filler.pid, signal.SIGKILL)


def fill(worker: MarkedWorker, log: Path, user: int, chance: random.Random) -> None:
    """Fill the process table at a random moment of the run."""
    while not log.exists() and worker.process.poll() is None:
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 2))
    with process_table_full(user):
        time.sleep(_FULL)


def kill_at_boot(worker: MarkedWorker) -> None:
    """Kill five children in one burst, as soon as there are so many."""
    while worker.process.poll() is None:
        children = worker.children()
        # The watchdog and its like are among them.
        if len(children) > _KILLS:
            for pid in children[-_KILLS:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return


def trial(kind: str, executor: str, chance: random.Random) -> list[str]:
    """Run one worker; return what is wrong with how it ended."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        # With reused processes, too, new ones are needed all the time.
        tasks = [
            {"task_id": str(n), "data": {"dies": n % 3 == 0, "seconds": 1.0}} for n in range(_TASKS)
        ]
        file, log = write_tasks(folder / "tasks.json", tasks), folder / "events.log"
        options = ["--task-file", str(file), "--event-log-file", str(log), "--executor", executor]
        slots = _SLOTS if kind == "kills" else 4
        options += ["--num-simultaneous-tasks", str(slots)]
        user = chance.randrange(20_000, 60_000)
        before = as_user(user) if kind == "full" else []
        function = "benchmarks.tasks:sleep_or_die"
        with marked_worker(folder, function, *options, before=before) as worker:
            if kind == "full":
                fill(worker, log, user, chance)
            else:
                kill_at_boot(worker)
            code = worker.process.wait(300)
            left = worker.left()
            said = worker.said()
        _, ends, kinds = ends_of_tasks(log)
    wrong = []
    if code != 1:
        wrong.append(f"exit code {code}")
    if len(ends) != _TASKS or any(n != 1 for n in ends.values()):
        wrong.append(f"{len(ends)} tasks have an end, {sum(ends.values())} ends")
    # A kill that comes late may hit a task.
    if kinds["task_exited"] - _TASKS // 3 not in range(_KILLS + 1 if kind == "kills" else 1):
        wrong.append(f"ends: {dict(kinds)}")
    if left:
        wrong.append(f"left: {left}")
    return [*wrong, said] if wrong else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=50, help="trials of each kind and executor")
    parser.add_argument("--kind", choices=("full", "kills"), action="append")
    parser.add_argument("--executor", choices=EXECUTORS, action="append")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = parser.parse_args()
    chance = random.Random(args.seed)
    failed = 0
    for kind in args.kind or ("full", "kills"):
        for executor in args.executor or EXECUTORS:
            one = functools.partial(trial, kind, executor, chance)
            failed += count_bad(f"{kind}, {executor}", args.count, one)
    print(f"seed {args.seed}")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
