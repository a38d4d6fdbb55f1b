"""Format results as tables, for the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.results import Aim, ContestResult, Result

#: Descriptions of the figures, in the order of the columns.
MEANINGS = {
    "per_second": "tasks per second, after warm-up",
    "cpu_us_tree": "CPU microseconds per task, of the parent and all its descendants",
    "cpu_us_parent": "CPU microseconds per task, of the parent alone",
    "children_busy": "share of the cores (one per slot) that the children used",
    "whole_per_second": "tasks per second, including start and end of the worker",
    "parent_peak_mib": "peak resident memory of the parent, MiB",
    "share_of_ideal": "ideal time / time taken, from the first start to the last event",
    "median_ms": "milliseconds, median",
    "p99_ms": "milliseconds, 99th percentile",
    "max_ms": "milliseconds, maximum",
    "early": "number of tasks killed before their limit",
    "count": "number of measurements",
    "grew_mib": "growth of the peak resident memory, MiB",
    "start_s": "seconds from the start to the first statement",
    "import_s": "seconds of the import, minus those of bare Python",
    "first_event_s": "seconds from the start to the first event, minus those of bare Python",
    "tail_s": "seconds from the last event to the exit, minus those of bare Python",
    "parent_mib": "resident memory of the parent, MiB",
    "child_uss_mib": "memory that a child does not share, MiB, median of the children",
    "threads": "threads of the parent",
    "descriptors": "open descriptors of the parent",
    "descriptors_a_slot": "descriptors per additional slot",
    "boot_s": "seconds from the start until each slot runs a task",
    "cpu_percent": "share of one core that the parent uses, in per cent",
    "wakes_per_second": "wake-ups of the parent's threads per second",
    "printing_per_second": "tasks per second that compute for 1 ms and print ten lines",
    "nothing_per_second": "no-op tasks per second",
    "records_per_second": "log records per second",
    "us_a_record": "microseconds that a log record adds to a run",
    "cpu_us_a_record": "CPU microseconds per log record, of the parent and all its descendants",
}


def rows_of(contest: ContestResult) -> list[list[str]]:
    """Return the table of medians: a head, and a row for each contestant that ran."""
    present = {name for run in contest.runs for name in run.figures}
    figures = [name for name in MEANINGS if name in present] + sorted(present - set(MEANINGS))
    rows = [["", f"{contest.key} x {contest.reference}", *figures, "others"]]
    for name in contest.names:
        mine = [run for run in contest.runs if run.contestant == name]
        if not mine:
            continue
        ratio = contest.ratio(name, contest.key, contest.reference)
        medians = [number(contest.median(name, figure)) for figure in figures]
        others = f"{sum(run.others for run in mine) / len(mine):.2f}"
        rows.append([name, "" if ratio is None else f"{ratio:.3g}", *medians, others])
    return rows


def absent(contest: ContestResult) -> list[str]:
    """Return a sentence for each contestant that did not run or failed."""
    return [
        *(f"left out: {name}, as {why}" for name, why in contest.left_out.items()),
        *(f"failed: {name}: {how}" for name, how in contest.failed.items()),
    ]


def aims_of(result: Result) -> list[list[str]]:
    """Return the table of targets, without a head."""
    rows = []
    for contest in result.contests:
        for aim in contest.aims:
            measured = contest.measured(aim)
            said = "not measured" if measured is None else f"{number(measured)}{aim.unit}"
            verdict = "" if measured is None else aim.reached(measured)
            bounds = [_bound(aim, bound) for bound in (aim.at_least, aim.stretch)]
            rows.append([aim.what, *bounds, said, verdict])
    return rows


def _bound(aim: Aim, bound: float | None) -> str:
    sign = "<=" if aim.most else ">="
    return "" if bound is None else f"{sign} {number(bound)}{aim.unit}"


def number(value: float | None) -> str:
    """Format a number with three significant digits; None as an empty text."""
    if value is None:
        return ""
    if value and abs(value) < 1e-4:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table for a terminal; the first column is flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown; the first row is its head."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in escaped]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]


def terminal(result: Result) -> list[str]:
    """Return the lines printed at the end of a topic."""
    lines = []
    for contest in result.contests:
        lines += ["", f"{contest.title}: medians of {result.rounds} rounds"]
        lines += aligned(rows_of(contest))
        lines += absent(contest)
    aims = aims_of(result)
    if aims:
        head = ["what", "at least", "stretch", "measured", "reached"]
        lines += ["", *aligned([head, *aims])]
    facts = {**result.machine, **result.versions}
    return [*lines, "", ", ".join(f"{name} {value}" for name, value in facts.items())]
