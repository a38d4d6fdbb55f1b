"""Compare CPU per no-op task, of the worker and all its processes, with the floor of the same run.

For CI: wall-clock time varies from run to run more than by a typical change of the code; the
minimum of CPU time over some rounds does not. Exits with 1 if the worker takes more CPU than
allowed.
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
#: Increase of the ratio that is allowed.
SLACK = 0.25
_FLOOR, _OURS = "floor", "ours"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of all rounds.

    Attributes:
        ours: CPU microseconds per task, by round.
        floor: the same of the floor.
        recorded: the ratio of an earlier measurement.
    """

    ours: tuple[float, ...]
    floor: tuple[float, ...]
    recorded: float = RECORDED

    @property
    def ratio(self) -> float:
        """Divide ours by the floor's: of the best rounds or within one round, whichever is less.

        Other load on the machine sometimes increases one of the two; a change of the code
        increases both.
        """
        same_round = [a / b for a, b in zip(self.ours, self.floor, strict=True)]
        return min(min(self.ours) / min(self.floor), statistics.median(same_round))

    @property
    def allowed(self) -> float:
        """The largest ratio that passes."""
        return self.recorded * (1 + SLACK)

    @property
    def passed(self) -> bool:
        """True if the ratio is not above the allowed one."""
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
            f"{figures}; find out what made it more expensive, or, if that is intended, record "
            "the new ratio in benchmarks/guard.py"
        )


def judge(result: ContestResult, recorded: float = RECORDED) -> Verdict:
    """Return the verdict on the rounds of *result*."""
    ours, floor = (result.by_round(name, "cpu_us_tree").values() for name in (_OURS, _FLOOR))
    return Verdict(tuple(ours), tuple(floor), recorded)


def main() -> int:
    """Measure; return 1 if the ratio is too large, 2 if a measurement failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--burn", type=float, default=0.0, metavar="MICROSECONDS",
                        help="burn CPU in our tasks, to test the guard")  # fmt: skip
    args = parser.parse_args()
    # The floor burns no CPU, because it stands for the least possible work.
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
