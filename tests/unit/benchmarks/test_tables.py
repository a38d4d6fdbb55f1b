"""Tables for the terminal and the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import page, table, topics
from benchmarks.results import Aim, ContestResult, Result, Run


def result(figure: float = 250.0) -> Result:
    runs = [
        Run(1, "peer", {"per_second": 100.0, "own_figure": 1.0}, 1.0, 0.25, 0.0),
        Run(1, "a|b", {"per_second": figure}, 1.0, 0.75, 0.0),
    ]
    aims = [
        Aim("rate / peer", "a|b", "per_second", 2.0, 3.0, "peer"),
        Aim("memory", "a|b", "parent_mib", 30, most=True, unit=" MiB"),
    ]
    names = ["peer", "a|b", "absent", "broken"]
    absent, broken = {"absent": "the command absent is not installed"}, {"broken": "it ended"}
    contest = ContestResult("a race", "per_second", "peer", names, aims, runs, absent, broken)
    return Result(
        topic="noop",
        command="python -m benchmarks noop --json x.json",
        began="2026-01-01T00:00:00+00:00",
        rounds=1,
        quick=False,
        machine={"cores": "2"},
        versions={"peer pebble": "5"},
        contests=[contest],
    )


def test_a_contest_has_a_row_for_each_that_ran_and_a_column_for_each_figure() -> None:
    (contest,) = result().contests
    assert table.rows_of(contest) == [
        ["", "per_second x peer", "per_second", "own_figure", "others"],
        ["peer", "1", "100", "1", "0.25"],
        ["a|b", "2.5", "250", "", "0.75"],
    ]


def test_an_aim_tells_what_was_measured_or_that_nothing_was() -> None:
    assert table.aims_of(result()) == [
        ["rate / peer", ">= 2", ">= 3", "2.5", "yes"],
        ["memory", "<= 30 MiB", "", "not measured", ""],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0, "0"),
        (0.00001234, "1.2e-05"),
        (0.1234, "0.123"),
        (99.96, "100"),
        (12345.6, "12,346"),
        (-0.5, "-0.5"),
        (-12345.0, "-12,345"),
    ],
)
def test_a_number_has_three_digits_that_count(value: float | None, text: str) -> None:
    assert table.number(value) == text


def test_columns_of_a_terminal_stand_below_each_other() -> None:
    assert table.aligned([["", "rate"], ["ours", "1"], ["a peer", "1,000"]]) == [
        "         rate",
        "ours        1",
        "a peer  1,000",
    ]


def test_the_terminal_is_told_who_was_left_out_and_why() -> None:
    lines = table.terminal(result())
    assert "left out: absent, as the command absent is not installed" in lines
    assert "failed: broken: it ended" in lines
    assert lines[-1] == "cores 2, peer pebble 5"


def test_the_page_has_the_aims_the_tables_the_versions_and_the_remarks() -> None:
    remarks = {"top": "First.", "noop": "Of no-ops.", "rate / peer": "The kernel\nlimits it."}
    text = page.text([result()], remarks)
    assert text.startswith("# Benchmarks\n\nFirst.\n")
    row = "| rate / peer | `noop` | ≥ 2 | ≥ 3 | 2.5 | yes |"
    assert row in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "\nWhat limits each figure:\n\n- **rate / peer**: The kernel limits it.\n" in text
    assert "| a\\|b | 2.5 | 250 |  | 0.75 |" in text
    assert "\nOf no-ops.\n" in text
    assert "\n- left out: absent, as the command absent is not installed.\n" in text
    assert "\n- failed: broken: it ended.\n" in text
    assert "| peer pebble | 5 |" in text
    assert f"| `per_second` | {table.MEANINGS['per_second']} |" in text
    # Every row of a table has as many cells as its head.
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block


def test_a_later_file_of_a_topic_beats_an_earlier_one(tmp_path: Path) -> None:
    for name, figure in (("first", 300.0), ("second", 700.0)):
        result(figure).write(tmp_path / f"{name}.json")
    page.write([tmp_path / "first.json", tmp_path / "second.json"], tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| 7 | 700 |" in text
    assert "300" not in text


def test_remarks_are_found_by_their_heading() -> None:
    source = "<!-- how -->\n\n## noop\n\nOne.\n\nTwo.\n\n### rate / peer\nThree.\n"
    assert page.read_remarks(source) == {"noop": "One.\n\nTwo.", "rate / peer": "Three."}


def test_every_remark_has_a_place_on_the_page() -> None:
    wanted = {
        aim.what
        for name in topics.CONTESTS
        for contest in topics.load(name).contests(False)
        for aim in contest.aims
    }
    headings = set(page.read_remarks(page.REMARKS.read_text()))
    assert headings <= {"top", *topics.CONTESTS, *wanted}
