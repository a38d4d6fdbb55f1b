"""Store the results of a topic as JSON; compute medians and ratios."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Version of the JSON format; a file with another version is refused.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Aim:
    """A target for one figure.

    Attributes:
        what: its name.
        contestant: the contestant that should reach it.
        figure: the name of the figure.
        at_least: the lower bound, or with *most* the upper bound; None means no bound.
        stretch: a better bound; None means none.
        versus: divide by the figure of this contestant in the same round; empty: don't divide.
        difference: subtract that figure instead of dividing by it.
        most: True if less is better.
        unit: printed after the number.
    """

    what: str
    contestant: str
    figure: str
    at_least: float | None
    stretch: float | None = None
    versus: str = ""
    difference: bool = False
    most: bool = False
    unit: str = ""

    def reached(self, measured: float) -> str:
        """Return ``stretch``, ``yes`` or ``no``."""
        for word, bound in (("stretch", self.stretch), ("yes", self.at_least)):
            if bound is not None and (measured <= bound if self.most else measured >= bound):
                return word
        return "no"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contestant.

    Attributes:
        round: counted from 1.
        contestant: its name.
        figures: by name, see :data:`benchmarks.table.MEANINGS`.
        seconds: duration of its process.
        others: average number of cores that processes outside the run used meanwhile.
        stolen: average number of cores that the hypervisor gave to other machines.
    """

    round: int
    contestant: str
    figures: dict[str, float]
    seconds: float
    others: float
    stolen: float


@dataclass(frozen=True, slots=True)
class ContestResult:
    """All runs of one contest.

    Attributes:
        title: the subject of the comparison.
        key: the figure whose ratio is shown.
        reference: the contestant whose ratio is 1.
        names: all contestants, in order.
        aims: the targets.
        runs: in the order of time.
        left_out: reasons by contestant that could not run.
        failed: reasons by contestant that failed.
    """

    title: str
    key: str
    reference: str
    names: Sequence[str]
    aims: Sequence[Aim]
    runs: Sequence[Run]
    left_out: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def by_round(self, contestant: str, figure: str) -> dict[int, float]:
        """Return a figure's values by round."""
        return {
            run.round: run.figures[figure]
            for run in self.runs
            if run.contestant == contestant and figure in run.figures
        }

    def median(self, contestant: str, figure: str) -> float | None:
        """Return the median over the rounds, or None if it was never measured."""
        values = self.by_round(contestant, figure).values()
        return statistics.median(values) if values else None

    def ratio(self, contestant: str, figure: str, versus: str) -> float | None:
        """Return the median of the ratios within a round, or None if no round has both."""
        mine, others = self.by_round(contestant, figure), self.by_round(versus, figure)
        ratios = [mine[n] / others[n] for n in mine.keys() & others.keys() if others[n]]
        return statistics.median(ratios) if ratios else None

    def measured(self, aim: Aim) -> float | None:
        """Return the measured value of *aim*, or None if it was not measured."""
        if not aim.versus:
            return self.median(aim.contestant, aim.figure)
        if not aim.difference:
            return self.ratio(aim.contestant, aim.figure, aim.versus)
        mine = self.by_round(aim.contestant, aim.figure)
        others = self.by_round(aim.versus, aim.figure)
        gaps = [mine[n] - others[n] for n in mine.keys() & others.keys()]
        return statistics.median(gaps) if gaps else None


@dataclass(frozen=True, slots=True)
class Result:
    """A run of a topic.

    Attributes:
        topic: its name.
        command: the command line.
        began: start time in UTC.
        rounds: requested number of rounds.
        quick: True if sizes were reduced, so that the figures mean little.
        machine: facts about the machine.
        versions: versions of all packages involved.
        contests: the measurements.
    """

    topic: str
    command: str
    began: str
    rounds: int
    quick: bool
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    contests: Sequence[ContestResult]

    def write(self, path: Path) -> None:
        """Write the result as JSON, atomically."""
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_text(json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1))
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read a file of :meth:`write`.

        Raises:
            ValueError: the file has another format.
        """
        try:
            data: Any = json.loads(path.read_text())
        except ValueError:
            data = None
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise ValueError(f"{path} holds no results of python -m benchmarks")
        contests = [
            ContestResult(
                **{
                    **contest,
                    "aims": [Aim(**aim) for aim in contest["aims"]],
                    "runs": [Run(**run) for run in contest["runs"]],
                }
            )
            for contest in data.pop("contests")
        ]
        return cls(**data, contests=contests)
