"""What a run of a topic came to, as it is kept in JSON; medians and ratios of it."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Of the JSON; a file of another one is refused.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Aim:
    """What is to be reached.

    Attributes:
        what: the words for it.
        contestant: who is to reach it.
        figure: which of its figures.
        at_least: what is asked for: no less than it, or no more if *most*; None: nothing.
        stretch: what would be better still; None: nothing.
        versus: the contestant whose figure of the same round it is divided by; empty: by none.
        difference: subtract that one's figure in place of dividing by it.
        most: less is better.
        unit: shown behind the number.
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
    """One contestant, once.

    Attributes:
        round: counted from 1.
        contestant: its name.
        figures: by name, see :data:`benchmarks.table.MEANINGS`.
        seconds: how long its process was there.
        others: cores that processes outside the run used meanwhile, on average.
        stolen: cores that the hypervisor had given to others.
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
        title: what is compared.
        key: the figure whose ratio is shown.
        reference: the contestant whose ratio is 1.
        names: of all contestants that were to run, in their order.
        aims: what is to be reached.
        runs: in the order of time.
        left_out: why, by contestant: what it needs is not there.
        failed: how, by contestant: it took part no more.
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
        """Return the median over the rounds; None: it was never measured."""
        values = self.by_round(contestant, figure).values()
        return statistics.median(values) if values else None

    def ratio(self, contestant: str, figure: str, versus: str) -> float | None:
        """Return the median of the ratios of the same round; None: there is no such round."""
        mine, others = self.by_round(contestant, figure), self.by_round(versus, figure)
        ratios = [mine[n] / others[n] for n in mine.keys() & others.keys() if others[n]]
        return statistics.median(ratios) if ratios else None

    def measured(self, aim: Aim) -> float | None:
        """Return how far *aim* was reached; None: it was not measured."""
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
        command: what was typed.
        began: in UTC.
        rounds: how many were asked for.
        quick: the sizes were cut down: the figures mean little.
        machine: what it ran on.
        versions: of all that took part.
        contests: what was measured.
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
        """Write it as JSON, whole or not at all."""
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_text(json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1))
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read what :meth:`write` has written.

        Raises:
            ValueError: it is no such file.
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
