"""Measure the cost of drawing the progress on a pseudo-terminal, with no-op tasks.

It is measured within one run, because two runs on a shared machine differ by more than drawing
costs. The drawing thread works for half a second and sleeps for half a second, in turns. The rate
in each turn is compared with the mean of its two neighbours. ``used`` is the share of one CPU that
the drawing thread took while it worked.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cloud_tasks.display.console
from benchmarks.checkout import environment
from benchmarks.files import write_tasks
from benchmarks.light import nothing
from cloud_tasks.display.screen import Drawing
from cloud_tasks.worker import Worker

SLOTS = 2
COLUMNS, ROWS = 80, 24
#: Seconds of a turn, and seconds before the first turn.
TURN, WARM_UP = 0.5, 3.0


def say(task_id: str, data: dict[str, int], worker_data: object) -> tuple[bool, None]:
    print(f"{task_id} has looked at everything that there was to be looked at, and is done")
    return False, None


class InTurns(Drawing):
    """A screen that draws in every second turn, and records the rate of tasks in each turn."""

    #: Whether it drew, tasks a second, and what the thread used of a CPU.
    turns: list[tuple[bool, float, float]]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        InTurns.turns = []
        self._draws = True
        self._end = time.monotonic() + WARM_UP
        self._begin: tuple[float, int, float] | None = None

    def turn(self) -> None:
        """Draw or sleep for one turn."""
        now = time.monotonic()
        if now >= self._end:
            self._note(now)
        if self._draws:
            super().turn()
        else:
            time.sleep(max(0.0, self._end - time.monotonic()))

    def _note(self, now: float) -> None:
        ended, used = self._stats.ended, time.thread_time()
        if self._begin is not None:
            began, before, used_before = self._begin
            seconds = now - began
            figures = (ended - before) / seconds, (used - used_before) / seconds
            InTurns.turns.append((self._draws, *figures))
        self._begin = (now, ended, used)
        self._draws, self._end = not self._draws, now + TURN


def _work(function: str, folder: str) -> None:
    """Run the worker, with the terminal as standard error."""
    vars(cloud_tasks.display.console)["Drawing"] = InTurns
    args = ["--task-file", f"{folder}/tasks.json", "--event-log-file", f"{folder}/events.log"]
    args += ["--num-simultaneous-tasks", str(SLOTS), "--progress", "on"]
    functions: dict[str, Callable[..., Any]] = {"nothing": nothing, "say": say}
    Worker(functions[function], args=args).run()
    Path(folder, "turns").write_text(json.dumps(InTurns.turns))


def measure(function: str, tasks: int) -> list[tuple[bool, float, float]]:
    """Run the worker on a terminal and return its turns."""
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    with tempfile.TemporaryDirectory() as folder:
        entries = [{"task_id": f"task-{i:07d}", "data": {"x": i}} for i in range(tasks)]
        write_tasks(Path(folder, "tasks.json"), entries)
        program = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.progress", "--work", function, folder],
            stdin=its, stdout=its, stderr=its, env={**environment(), "TERM": "xterm-256color"},
        )  # fmt: skip
        os.close(its)
        try:
            while os.read(mine, 65536):
                pass
        except OSError:  # how a terminal ends whose last user is gone
            pass
        os.close(mine)
        assert program.wait() == 0
        return [tuple(turn) for turn in json.loads(Path(folder, "turns").read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--printing", action="store_true", help="each task prints a line")
    args = parser.parse_args()
    ratios, used = [], []
    for number in range(args.rounds):
        turns = measure("say" if args.printing else "nothing", args.tasks)
        triples = zip(pairwise(turns), turns[2:], strict=False)
        for ((_, before, _), (drawn, rate, _)), (_, after, _) in triples:
            ratio = rate / ((before + after) / 2)
            ratios.append(ratio if drawn else 1 / ratio)
        used += [share for drawn, _, share in turns if drawn]
        rates = [statistics.median(r for d, r, _ in turns if d is drawn) for drawn in (True, False)]
        print(f"round {number + 1}: drawn {rates[0]:,.0f} a second, not drawn {rates[1]:,.0f}")
    low, middle, high = statistics.quantiles(ratios)
    print(
        f"drawn x not drawn: {middle:.3f} (median of {len(ratios)} turns, quartiles {low:.2f} "
        f"and {high:.2f})   used {statistics.median(used):.2%} of a CPU"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        _work(*sys.argv[2:])
    else:
        main()
