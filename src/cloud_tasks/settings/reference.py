"""Write the reference page of the settings, and list their values.

``python -m cloud_tasks.settings.reference > docs/reference/settings.md`` writes the page anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cloud_tasks.masking import masked_value
from cloud_tasks.settings.derive import Origin
from cloud_tasks.settings.resolve import Resolved
from cloud_tasks.settings.row import Row
from cloud_tasks.settings.table import ROWS

# A bar inside a Markdown table.
_BAR = r"\|"

_HEAD = """\
<!-- Generated, do not edit by hand:
     python -m cloud_tasks.settings.reference > docs/reference/settings.md -->

# Settings

Every setting of the worker has a flag, and nearly all have an environment variable. Both are
read when a `Worker` is constructed.

**Which one holds.** The flag on the command line. If it isn't there, the variable. If that isn't
set, is empty, or is the text `None`, which scripts of the older system export: what the program
passed to its parser's `set_defaults`. Else the default below.

**Booleans.** `--flag` switches on and `--no-flag` switches off, whatever the variable says. The
variable takes `1`, `true`, `yes` or `on`, and `0`, `false`, `no` or `off`, in any case; any other
text is an error.

**Executors.** `--debug` and `--use-new-process` are other ways to name an executor; two different
ones on one command line, or in the environment, are an error. A name that the program passes as
`executor=` counts less than the command line and the environment. An executor object that it
passes can't be overruled: the variables are ignored, and a flag is an error.

**Wrong values.** The program ends with exit status 2, its usage, and one line that names each
wrong setting by flag and variable.
"""


@dataclass(frozen=True, slots=True)
class SettingValue:
    """One setting of one worker; it may have no environment variable."""

    name: str
    value: Any
    origin: Origin
    flag: str
    variable: str | None


def values(resolved: Resolved) -> list[SettingValue]:
    """Return every setting in the table's order with its origin and its value without secrets."""
    return [
        SettingValue(
            name,
            masked_value(name, getattr(resolved.settings, name)),
            resolved.origins[name],
            row.flag,
            row.env,
        )
        for name, row in ROWS.items()
    ]


def page() -> str:
    """Return the reference page in MyST Markdown."""
    parts = [_HEAD]
    for group, rows in groupby(ROWS.values(), key=lambda row: row.group):
        parts.append(f"\n## {group}\n\n{_table(rows)}")
    return "".join(parts)


def _table(rows: Iterable[Row]) -> str:
    lines = ["| flag | variable | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        variable = f"`{row.env}`" if row.env else ""
        cells = (_flags(row), variable, _prose(row.default_text), _prose(row.help))
        lines.append(f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _prose(text: str) -> str:
    # As code, so that Sphinx leaves the two hyphens alone.
    return re.sub(r"--[a-z-]+", r"`\g<0>`", text)


def _flags(row: Row) -> str:
    value = row.metavar if row.flag_value is None else f"[{row.metavar}]"
    suffix = "" if row.is_boolean else f" {value}"
    return ", ".join(f"`{flag}{suffix}`" for flag in row.option_strings)


if __name__ == "__main__":
    sys.stdout.write(page())
