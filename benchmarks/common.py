"""What the benchmarks share: programs to measure, rounds that alternate, ratios.

Absolute rates mean little on a machine that does other things, too. So each round runs every
contestant once, one after the other, each in a process of its own, and what counts is the median
of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: One measurement, as a contestant prints it.
Figures = Mapping[str, float]


def contest(
    description: str,
    contestants: Mapping[str, Callable[[], dict[str, float]]],
    *,
    rounds: int,
    key: str,
    reference: str,
) -> None:
    """Run this program's contestants in alternating rounds, or one of them if asked to.

    Args:
        description: of the benchmark, for ``--help``.
        contestants: each measures itself once and returns its figures.
        rounds: how often, by default.
        key: the figure that is compared; more is better.
        reference: the contestant that the others are compared with.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--one", choices=sorted(contestants), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(contestants[args.one]()))
        return
    results: dict[str, list[Figures]] = {name: [] for name in contestants}
    for number in range(args.rounds):
        for name in contestants:
            results[name].append(_measure(name))
            print(f"round {number + 1} {name}: {_shown(results[name][-1])}", flush=True)
    print(f"\nmedians of {args.rounds} rounds")
    for name, figures in results.items():
        medians = {k: statistics.median(f[k] for f in figures) for k in figures[0]}
        pairs = zip(figures, results[reference], strict=True)
        ratio = statistics.median(mine[key] / other[key] for mine, other in pairs)
        print(f"{name:>28}  {key} x {reference}: {ratio:.2f}   {_shown(medians)}")


def _measure(name: str) -> Figures:
    """Run this program again for one contestant; its last line is its figures."""
    done = subprocess.run(
        [sys.executable, sys.argv[0], "--one", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def _shown(figures: Figures) -> str:
    return "  ".join(f"{key} {value:,.4g}" for key, value in figures.items())


def write_tasks(path: Path, tasks: list[dict[str, Any]]) -> Path:
    """Write a JSON task file; returns *path*."""
    path.write_text(json.dumps(tasks))
    return path


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log."""
    return [json.loads(line) for line in path.read_text().splitlines()]
