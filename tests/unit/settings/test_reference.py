"""The reference page and the listing of values."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks import registry
from cloud_tasks.settings import reference
from cloud_tasks.settings.resolve import resolve
from cloud_tasks.settings.row import Row
from cloud_tasks.settings.table import ROWS

pytestmark = pytest.mark.interpreter

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def test_the_page_in_the_documentation_is_the_generated_one() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.page(), (
        "run: python -m cloud_tasks.settings.reference > docs/reference/settings.md"
    )


def test_the_command_prints_the_page() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cloud_tasks.settings.reference"],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert done.stdout == reference.page()


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_page_has_a_line_for_every_setting(row: Row) -> None:
    lines = [
        line for line in reference.page().splitlines() if line.startswith(f"| `{row.flags[0]}")
    ]
    line = next(line for line in lines if not row.env or f"`{row.env}`" in line)
    # Four cells; a bar inside one of them must not part it.
    assert line.replace(r"\|", "").count("|") == 5


def test_the_page_lists_the_built_in_executors() -> None:
    assert ", ".join(registry.names("executor")) in reference.page()


def test_the_listing_tells_every_value_and_its_origin() -> None:
    resolved = resolve(
        argparse.ArgumentParser(),
        ["--tasks", "t.json", "-v"],
        {"RMS_CLOUD_TASKS_MAX_RUNTIME": "5"},
    )
    listing = {value.name: value for value in reference.values(resolved)}
    assert list(listing) == list(ROWS)
    assert listing["max_runtime"] == reference.SettingValue(
        "max_runtime", 5.0, "environment", "--max-runtime", "RMS_CLOUD_TASKS_MAX_RUNTIME"
    )
    assert listing["verbose"].flag == "--verbose"
    assert listing["verbose"].variable is None
    assert listing["event_log_to_file"].origin == "derived"
