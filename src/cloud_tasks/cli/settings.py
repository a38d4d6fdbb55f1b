"""``cloud_tasks settings``: show the settings of a worker that is started here."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from cloud_tasks.display.command_output import print_table
from cloud_tasks.settings.reference import values
from cloud_tasks.settings.resolve import resolve


def main(argv: list[str]) -> int:
    """Print every setting, its value and its origin; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="cloud_tasks settings",
        description="Show every setting, its value and its origin. Takes the flags of a worker, to "
        "show their effect.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    resolved = resolve(parser, argv, require_tasks=False)
    rows = values(resolved)
    if resolved.args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return 0
    print_table(
        ("setting", "value", "from", "flag", "variable"),
        [
            (r.name, "-" if r.value is None else str(r.value), r.origin, r.flag, r.variable or "-")
            for r in rows
        ],
    )
    return 0
