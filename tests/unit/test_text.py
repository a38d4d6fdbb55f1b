from __future__ import annotations

import pytest

from cloud_tasks.text import clock, duration, plural, safe


@pytest.mark.parametrize("text", ["plain", "grün 😀", ""])
def test_harmless_text_is_shown_as_it_is(text: str) -> None:
    assert safe(text) == text


def test_hostile_text_moves_no_cursor_and_makes_no_line() -> None:
    for text in ("\x1b[2J", "a\nb\r", "\u2028", "\x00\x07", "\ud800", "\u202e", "\x9b1m"):
        shown = safe(text)
        assert shown.isprintable()
        assert len(shown.splitlines()) == 1
        assert "\\" in shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert safe("x" * 2**20, 10) == "xxxxxxxxx…"
    assert safe("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000005, "0 us"),
        (0.00031, "310 us"),
        (0.031, "31 ms"),
        (4.24, "4.2 s"),
        (1025, "17:05"),
        (10964, "3:02:44"),
    ],
)
def test_a_duration_has_the_unit_that_suits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_and_nouns_agree() -> None:
    assert [plural(n, "task") for n in (0, 1, 1000)] == ["0 tasks", "1 task", "1,000 tasks"]
    assert [clock(s) for s in (0, 59.6, 3600)] == ["0:00", "1:00", "1:00:00"]
