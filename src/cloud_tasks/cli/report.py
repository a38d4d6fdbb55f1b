"""``cloud_tasks report``: summarise a run as text, JSON or an HTML page."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cloud_tasks.errors import HistoryError
from cloud_tasks.events.reading import EventReader
from cloud_tasks.history.layout import find_run
from cloud_tasks.history.starts import read_starts
from cloud_tasks.report.document import document
from cloud_tasks.report.tally.tally import Tally
from cloud_tasks.report.text import lines
from cloud_tasks.system.append_file import draft_beside
from cloud_tasks.text import safe
from cloud_tasks.timestamps import plausible_timestamp


def main(argv: list[str]) -> int:
    """Report on the run that *argv* names; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="cloud_tasks report",
        description="Summarise a run. For a run directory, the page DIR/report.html is written as "
        "well.",
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, or an event log")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write one self-contained HTML page to FILE"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--since",
        type=_instant,
        default=0.0,
        metavar="TIME",
        help="skip events before TIME, as 2026-11-21T19:07:44; UTC unless it has an offset",
    )
    args = parser.parse_args(argv)
    run_files = find_run(args.run)
    reader = EventReader(run_files.events)
    tally = Tally(since=args.since).read(reader)
    starts = [] if run_files.directory is None else read_starts(run_files.directory.runs)
    found = document(run_files, tally, reader, starts)
    target = args.output
    if target is None and run_files.directory is not None and not args.json:
        target = str(run_files.directory.report)
    ours = target is not None and target != args.output
    if args.json:
        print(json.dumps(found))
    else:
        for line in lines(found):
            print(line)
    if target is not None:
        # The one in the run directory is for its owner, as the record that it shows.
        _write(target, found, private=ours)
    return 0


def _instant(value: str) -> float:
    instant = plausible_timestamp(value)
    if instant is None:
        raise argparse.ArgumentTypeError(f"{value!r} is no time such as 2026-11-21T19:07:44")
    return instant


def _write(target: str, found: dict[str, Any], *, private: bool) -> None:
    """Write the page to *target*, which is replaced at once when the page is whole."""
    from cloud_tasks.report.page import page

    try:
        with draft_beside(Path(target), private=private) as draft:
            draft.write_text(page(found), encoding="utf-8")
            draft.replace(target)
    except OSError as error:
        raise HistoryError(
            f"the page {target!r} can't be written: {error.strerror or error}; "
            "choose another place with -o"
        ) from error
    print(f"page: {safe(target, 1000)}", file=sys.stderr)
