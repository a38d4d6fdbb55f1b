"""Run contests: rounds in which each contestant runs once, one after the other.

Absolute rates mean little on a machine that is shared, or whose speed changes. So each round runs
every contestant, each in its own process, and the result is the median of the rounds' ratios.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import orphans
from benchmarks.checkout import ROOT, environment, interpreter
from benchmarks.machine import Cores
from benchmarks.results import Aim, ContestResult, Run

#: Seconds after which a contestant that does not end is given up.
LONGEST = 1800.0


@dataclass(frozen=True, slots=True)
class Contestant:
    """One participant of a contest.

    Attributes:
        name: its own.
        target: ``module:function``; called with *arguments* in a process of its own, it returns
            figures.
        arguments: values that JSON can represent.
        peer: True runs it in the environment of the peers.
        command: a program that must be installed; empty: none.
        module: one that must be installed beside ours; empty: none.
    """

    name: str
    target: str
    arguments: dict[str, Any] = field(default_factory=dict)
    peer: bool = False
    command: str = ""
    module: str = ""

    def lack(self, peers: Path) -> str:
        """Return in one sentence why it can't run; an empty text means that it can.

        Args:
            peers: the interpreter of the peers.
        """
        if self.peer and not peers.exists():
            return "there is no environment of the peers: make it by python -m benchmarks peers"
        if self.command and shutil.which(self.command) is None:
            return f"the command {self.command} is not installed"
        if self.module and importlib.util.find_spec(self.module) is None:
            return f"{self.module} is not installed beside cloud_tasks"
        return ""


@dataclass(frozen=True, slots=True)
class Contest:
    """One comparison of contestants.

    Attributes:
        title: the subject of the comparison.
        key: the figure whose ratio is shown.
        reference: the contestant whose ratio is 1.
        contestants: in the order in which each round runs them.
        aims: the targets.
    """

    title: str
    key: str
    reference: str
    contestants: Sequence[Contestant]
    aims: Sequence[Aim] = ()


class ContestantError(Exception):
    """The failure of a contestant; the text says how it failed."""


def hold(contest: Contest, rounds: int, peers: Path, tell: Callable[[str], None]) -> ContestResult:
    """Run all rounds; blocks. A contestant that fails is left out of later rounds.

    Args:
        contest: the comparison to run.
        rounds: their number.
        peers: the interpreter of the peers.
        tell: called with a line of text after each run.
    """
    left_out = {c.name: lack for c in contest.contestants if (lack := c.lack(peers))}
    failed: dict[str, str] = {}
    runs = []
    for number in range(1, rounds + 1):
        for contestant in contest.contestants:
            if contestant.name in left_out or contestant.name in failed:
                continue
            try:
                run = _measure(contestant, number, peers)
            except ContestantError as error:
                failed[contestant.name] = str(error)
                tell(f"{contestant.name} failed: {error}")
                continue
            runs.append(run)
            tell(f"round {number} {contestant.name}: {shown(run)}")
    return ContestResult(
        title=contest.title,
        key=contest.key,
        reference=contest.reference,
        names=[contestant.name for contestant in contest.contestants],
        aims=list(contest.aims),
        runs=runs,
        left_out=left_out,
        failed=failed,
    )


def shown(run: Run) -> str:
    """Format the figures of a run as one line."""
    figures = "  ".join(f"{name} {value:,.4g}" for name, value in run.figures.items())
    return f"{figures}  ({run.seconds:.1f} s, others {run.others:.2f} cores)"


def _measure(contestant: Contestant, number: int, peers: Path) -> Run:
    python = peers if contestant.peer else interpreter()
    arguments = json.dumps(contestant.arguments)
    before = Cores.now()
    with orphans.awaited():
        output = _output([str(python), "-m", "benchmarks.one", contestant.target, arguments])
    after = Cores.now()
    figures: dict[str, float] = json.loads(output.strip().rpartition("\n")[2])
    seconds = after.wall - before.wall
    return Run(number, contestant.name, figures, seconds, after.others(before), after.taken(before))


def _output(command: list[str]) -> str:
    """Run *command* at the root and return its output; kill its process group on a timeout."""
    # Files, because a pipe ends only when the last process that holds it has ended.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            code = process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            raise ContestantError(f"it did not end within {LONGEST:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        output.seek(0)
        errors.seek(0)
        if code:
            last = errors.read().strip().rpartition("\n")[2]
            raise ContestantError(f"it ended with {code}: {last}")
        return output.read()
