"""``cloud_tasks check``: read a task file to its end, before a run depends on it."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict

from cloud_tasks.errors import SourceError
from cloud_tasks.masking import masked
from cloud_tasks.sources.files.task_file import FORMATS
from cloud_tasks.sources.local import make_source
from cloud_tasks.task import Malformed
from cloud_tasks.text import duration, plural, safe

#: Problems that are shown one by one; the others are counted.
_SHOWN = 10
#: Few enough that they are freed before the cycle collector would visit them.
_BATCH = 100
_PROBLEMS = 1


def main(argv: list[str]) -> int:
    """Read the task file that *argv* names; returns 0 if all its entries are tasks, else 1."""
    parser = argparse.ArgumentParser(
        prog="cloud_tasks check",
        description="Read a task file to its end; count its tasks and show the first problems.",
    )
    parser.add_argument("task_file", metavar="TASK_FILE", help="a path, an address, or - for stdin")
    parser.add_argument(
        "--task-format", choices=sorted(FORMATS), help="format, if the name doesn't show it"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    args = parser.parse_args(argv)
    report = _read(args.task_file, args.task_format)
    if args.json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        for line in report.lines():
            print(line)
    return _PROBLEMS if report.bad or report.failure else 0


class _Report:
    """The counts and problems of one task file."""

    def __init__(self, name: str) -> None:
        self.name = masked(name)
        self.tasks = self.bad = 0
        self.first_id = self.last_id = ""
        self.problems: list[Malformed] = []
        self.failure: str | None = None
        self.elapsed = 0.0

    def to_dict(self) -> dict[str, object]:
        return {
            "task_file": self.name,
            "tasks": self.tasks,
            "bad_entries": self.bad,
            "first_task_id": self.first_id or None,
            "last_task_id": self.last_id or None,
            "problems": [asdict(problem) for problem in self.problems],
            "failure": self.failure,
        }

    def lines(self) -> list[str]:
        lines = [
            f"{safe(self.name)}: {plural(self.tasks, 'task')}, read in {duration(self.elapsed)}"
        ]
        if self.tasks:
            lines.append(f"  first {safe(self.first_id, 80)}   last {safe(self.last_id, 80)}")
        if self.bad:
            noun = "entry is no task" if self.bad == 1 else "entries are no tasks"
            lines.append(f"  {self.bad:,} {noun}:")
            lines += [f"    {safe(str(problem))}" for problem in self.problems]
            if self.bad > len(self.problems):
                lines.append(f"    and {self.bad - len(self.problems):,} more")
        if self.failure is not None:
            lines.append(f"  {safe(self.failure, 1000)}")
        return lines


def _read(name: str, task_format: str | None) -> _Report:
    report = _Report(name)
    source = make_source(name, task_format=task_format)
    began = time.monotonic()
    try:
        source.open()
        for batch in source.batches(_BATCH):
            if batch.deliveries:
                report.first_id = report.first_id or batch.deliveries[0].task.task_id
                report.last_id = batch.deliveries[-1].task.task_id
            report.tasks += len(batch.deliveries)
            report.bad += len(batch.malformed)
            report.problems += batch.malformed[: max(0, _SHOWN - len(report.problems))]
    except SourceError as error:
        report.failure = str(error)
    finally:
        source.close()
    report.elapsed = time.monotonic() - began
    return report
