"""The page of the documentation, made from the results of runs and from remarks by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.checkout import ROOT
from benchmarks.results import Result
from benchmarks.table import MEANINGS, absent, aims_of, markdown, rows_of
from benchmarks.topics import CONTESTS

PAGE = ROOT / "docs" / "benchmarks.md"
REMARKS = ROOT / "benchmarks" / "remarks.md"
_HEAD = "# Benchmarks\n"
_HOW = """\
## How to take your own

In a checkout, with the package installed:

```console
$ python -m benchmarks peers
$ python -m benchmarks noop --json noop.json
$ python -m benchmarks page noop.json
```

The first line makes an environment of the peers, without which they are left out. numpy has to be
beside the package for the tasks that import it.

## How it was measured

- Ours is the whole worker: the task file is streamed, the time limit is armed, crashes would be
  noticed, and each task leaves an event. Peers get their tasks from memory and write no events.
- Pools are warm before the clock starts, ours included; what start and end cost is shown apart.
- Each round runs every contestant once, one after the other, each in a process of its own. Shown
  are the medians of the rounds. A ratio is the median of the ratios of the same round: trust
  ratios more than absolute figures.
- CPU time is that of the process clocks, of the parent alone and with all its descendants, daemons
  of a peer included if it started them.
- `others` is the number of cores that processes outside the run used meanwhile, on average.
"""


def write(results: Sequence[Path], page: Path) -> None:
    """Write *page* from the JSON files *results*; a later file of a topic beats an earlier one.

    Raises:
        ValueError: a file holds no results.
    """
    by_topic = {result.topic: result for result in map(Result.read, results)}
    order = [topic for topic in CONTESTS if topic in by_topic]
    remarks = read_remarks(REMARKS.read_text())
    page.write_text(text([by_topic[topic] for topic in order], remarks))
    print(f"{page} tells of {', '.join(order)}")


def read_remarks(source: str) -> dict[str, str]:
    """Return remarks by their heading: of a topic, or the words of an aim."""
    parts = re.split(r"^##+ (.*)\n", source, flags=re.MULTILINE)
    return {heading: body.strip() for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def text(results: Sequence[Result], remarks: Mapping[str, str]) -> str:
    """Return the page, in Markdown.

    Args:
        results: one of each topic.
        remarks: by topic; by an aim's words: what limits.
    """
    parts = [_HEAD, remarks.get("top", ""), "## What was to be reached\n", _aims(results, remarks)]
    parts += [_topic(result, remarks.get(result.topic, "")) for result in results]
    parts += [_HOW, _meanings(results), _machines(results)]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def _aims(results: Sequence[Result], remarks: Mapping[str, str]) -> str:
    """Return the table of what was to be reached, and below it what limits each.

    Not beside it: a column of sentences would be a word wide.
    """
    rows = [["what", "topic", "at least", "stretch", "measured", "reached"]]
    limits = []
    for result in results:
        for what, *figures in aims_of(result):
            rows.append([what, f"`{result.topic}`", *map(_unbroken, figures)])
            if what in remarks:
                limits.append(f"- **{what}**: {' '.join(remarks[what].split())}")
    parts = [*markdown(rows), ""]
    return "\n".join([*parts, "What limits them:", "", *limits] if limits else parts)


def _unbroken(figure: str) -> str:
    """Return a bound or a figure as it is printed, in one piece."""
    return figure.replace(">=", "≥").replace("<=", "≤").replace(" ", "\N{NO-BREAK SPACE}")


def _topic(result: Result, remark: str) -> str:
    lines = [f"## {CONTESTS[result.topic].capitalize()}", ""]
    for contest in result.contests:
        head, *rows = rows_of(contest)
        named = [head[0], head[1], *(f"`{name}`" for name in head[2:])]
        lines += [f"### {contest.title[:1].upper()}{contest.title[1:]}", ""]
        lines += [*markdown([named, *rows]), ""]
        lines += [f"- {sentence}." for sentence in absent(contest)]
        lines += [""] if contest.left_out or contest.failed else []
    rounds = "one round" if result.rounds == 1 else f"medians of {result.rounds} rounds"
    few = " With few tasks, to try it out: the figures mean little." if result.quick else ""
    lines += [f"`python -m benchmarks {result.topic}`, {rounds}, {result.began}.{few}"]
    return "\n".join([*lines, *(["", remark] if remark else [])])


def _meanings(results: Sequence[Result]) -> str:
    used = {
        name
        for result in results
        for contest in result.contests
        for run in contest.runs
        for name in run.figures
    }
    rows = [[f"`{name}`", words] for name, words in MEANINGS.items() if name in used]
    return "\n".join(["## The columns", "", *markdown([["column", "meaning"], *rows])])


def _machines(results: Sequence[Result]) -> str:
    """Return the facts of the machines and versions; once what all runs have in common."""
    facts = [{**result.machine, **result.versions} for result in results]
    names = list(dict.fromkeys(name for one in facts for name in one))
    rows = [["what", "it was"]]
    for name in names:
        values = list(dict.fromkeys(one[name] for one in facts if name in one))
        rows.append([name, ", ".join(values)])
    return "\n".join(["## Machine and versions", "", *markdown(rows)])
