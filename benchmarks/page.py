"""Make the page of the documentation from JSON results and from written remarks."""

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
## Run the benchmarks yourself

In a checkout, with the package installed:

```console
$ python -m benchmarks peers
$ python -m benchmarks noop --json noop.json
$ python -m benchmarks page noop.json
```

The first command creates an environment for the peers; without it they are left out. Some tasks
import numpy, so install it in the environment of the package.

## Method

- cloud_tasks is measured as a whole worker: it streams the task file, enforces the time limit,
  detects crashes, and writes an event for each task. Peers get their tasks from memory and write
  no events.
- Pools are warm before the clock starts, including ours; the costs of start and end are shown
  separately.
- Each round runs every contestant once, one after the other, each in its own process. The tables
  show the medians of the rounds. A ratio is the median of the ratios within the same round;
  ratios are more reliable than absolute figures.
- CPU time is read from the process clocks, of the parent alone and with all its descendants,
  including daemons that a peer started.
- `others` is the average number of cores that processes outside the run used meanwhile.
"""


def write(results: Sequence[Path], page: Path) -> None:
    """Write *page* from the JSON files *results*; a later file of a topic replaces an earlier one.

    Raises:
        ValueError: a file holds no results.
    """
    by_topic = {result.topic: result for result in map(Result.read, results)}
    order = [topic for topic in CONTESTS if topic in by_topic]
    remarks = read_remarks(REMARKS.read_text())
    page.write_text(text([by_topic[topic] for topic in order], remarks))
    print(f"{page} has the topics {', '.join(order)}")


def read_remarks(source: str) -> dict[str, str]:
    """Return the remarks by heading: a topic, or the words of an aim."""
    parts = re.split(r"^##+ (.*)\n", source, flags=re.MULTILINE)
    return {heading: body.strip() for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def text(results: Sequence[Result], remarks: Mapping[str, str]) -> str:
    """Return the page, in Markdown.

    Args:
        results: one of each topic.
        remarks: by topic, and limiting factors by the words of an aim.
    """
    parts = [_HEAD, remarks.get("top", ""), "## Targets\n", _aims(results, remarks)]
    parts += [_topic(result, remarks.get(result.topic, "")) for result in results]
    parts += [_HOW, _meanings(results), _machines(results)]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts if part)


def _aims(results: Sequence[Result], remarks: Mapping[str, str]) -> str:
    """Return the table of targets, and below it what limits each.

    A column of sentences in the table would be only a word wide.
    """
    rows = [["what", "topic", "at least", "stretch", "measured", "reached"]]
    limits = []
    for result in results:
        for what, *figures in aims_of(result):
            rows.append([what, f"`{result.topic}`", *map(_unbroken, figures)])
            if what in remarks:
                limits.append(f"- **{what}**: {' '.join(remarks[what].split())}")
    parts = [*markdown(rows), ""]
    return "\n".join([*parts, "What limits each figure:", "", *limits] if limits else parts)


def _unbroken(figure: str) -> str:
    """Format a bound or a figure with spaces that do not break."""
    return figure.replace(">=", "≥").replace("<=", "≤").replace(" ", "\N{NO-BREAK SPACE}")


def _topic(result: Result, remark: str) -> str:
    words = CONTESTS[result.topic]
    lines = [f"## {words[:1].upper()}{words[1:]}", ""]
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
    """Return the table of machines and versions; common values appear once."""
    facts = [{**result.machine, **result.versions} for result in results]
    names = list(dict.fromkeys(name for one in facts for name in one))
    rows = [["what", "it was"]]
    for name in names:
        values = list(dict.fromkeys(one[name] for one in facts if name in one))
        rows.append([name, ", ".join(values)])
    return "\n".join(["## Machine and versions", "", *markdown(rows)])
