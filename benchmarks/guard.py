"""CPU per no-op task, of the worker and all its processes, against the floor of the same run.

For CI: time on the clock differs from run to run by more than any change of ours, CPU time and
its minimum over some rounds do not. Exits with 1 if ours has become dearer.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import Contest, Contestant, hold
from benchmarks.results import ContestResult

#: Our CPU per task over that of the floor: 1.25, 1.26 and 1.46 in three runs on 2 virtual cores of
#: a shared x86-64 machine, Linux 6.18, Python 3.11, loky 3.7; 1.35 to 1.44 in those of ``noop``.
RECORDED = 1.4
#: By how much more the ratio may be.
SLACK = 0.25
_FLOOR, _OURS = "floor", "ours"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rounds came to.

    Attributes:
        ours: CPU microseconds a task, by round.
        floor: the same of the floor.
        recorded: the ratio that once was.
    """

    ours: tuple[float, ...]
    floor: tuple[float, ...]
    recorded: float = RECORDED

    @property
    def ratio(self) -> float:
        """Ours over the floor's: of the best rounds or in the same round, whichever is less.

        What others do on the machine makes one of the two worse now and then, a change of ours
        makes both so.
        """
        same_round = [a / b for a, b in zip(self.ours, self.floor, strict=True)]
        return min(min(self.ours) / min(self.floor), statistics.median(same_round))

    @property
    def allowed(self) -> float:
        """The largest ratio that is let pass."""
        return self.recorded * (1 + SLACK)

    @property
    def passed(self) -> bool:
        """Ours has not become dearer."""
        return self.ratio <= self.allowed

    def __str__(self) -> str:
        figures = (
            f"a no-op task takes {min(self.ours):.1f} us of CPU, the floor's "
            f"{min(self.floor):.1f} us: "
            f"{self.ratio:.2f} times as much, {self.allowed:.2f} are allowed"
        )
        if self.passed:
            return f"{figures} ({self.recorded:.2f} were recorded)"
        return (
            f"{figures}; find out what made it dearer, or, if it has to be so, record the new "
            "ratio in benchmarks/guard.py"
        )


def judge(result: ContestResult, recorded: float = RECORDED) -> Verdict:
    """Return the verdict on the rounds of *result*."""
    ours, floor = (result.by_round(name, "cpu_us_tree").values() for name in (_OURS, _FLOOR))
    return Verdict(tuple(ours), tuple(floor), recorded)


def main() -> int:
    """Measure; returns 1 if ours has become dearer, 2 if it can't be told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--burn", type=float, default=0.0, metavar="MICROSECONDS",
                        help="make our tasks dearer on purpose")  # fmt: skip
    args = parser.parse_args()
    # The floor burns nothing: it stands for what can't be had for less.
    function = "benchmarks.tasks:burn" if args.burn else "benchmarks.light:nothing"
    burn = {"burn": args.burn / 1e6} if args.burn else {}
    ours = {"tasks": args.tasks, "function": function, **burn}
    contest = Contest(
        "guard",
        "cpu_us_tree",
        _FLOOR,
        [
            Contestant(_FLOOR, "benchmarks.floors:pipes", {"tasks": args.tasks}),
            Contestant(_OURS, "benchmarks.ours:run", ours),
        ],
    )
    result = hold(contest, args.rounds, Path(), lambda line: print(line, flush=True))
    if result.failed:
        for name, why in result.failed.items():
            print(f"error: the guard can't tell: {name}: {why}", file=sys.stderr)
        return 2
    verdict = judge(result)
    print(verdict, file=sys.stdout if verdict.passed else sys.stderr)
    return int(not verdict.passed)


if __name__ == "__main__":
    sys.exit(main())
