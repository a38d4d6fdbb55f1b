from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_tasks.display.sanitize import WholeLines


def taken(*parts: bytes, everything: bool = True, encoding: str = "utf-8") -> str:
    lines = WholeLines(encoding)
    for part in parts:
        lines.feed(part, 0.0)
    return lines.take(0.0, everything=everything)


def test_the_begin_of_a_line_waits_for_its_end() -> None:
    lines = WholeLines(idle=1.0)
    lines.feed(b"one\ntw", 10.0)
    assert lines.take(10.5) == "one\n"
    lines.feed(b"o\nthree", 10.9)
    assert lines.take(11.0) == "two\n"
    assert lines.take(11.8) == ""
    assert lines.take(11.9) == "three\n"
    assert lines.take(99.0, everything=True) == ""


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]))), st.data())
def test_nothing_is_lost_wherever_the_text_is_cut(texts: list[str], data: st.DataObject) -> None:
    whole = "".join(f"{text}\n" for text in texts)
    content, lines, shown = whole.encode(), WholeLines(), ""
    while content:
        cut = data.draw(st.integers(1, len(content)))
        lines.feed(content[:cut], 0.0)
        content = content[cut:]
        shown += lines.take(0.0)
    assert shown + lines.take(0.0, everything=True) == whole


def test_a_progress_bar_is_shown_as_it_was_at_last() -> None:
    assert taken(b"\r10 %\r20 %", b"\r30 %\n") == "30 %\n"
    assert taken(b"10 %\r20 %\r") == "20 %\n"
    assert taken(b"10 %\r", b"20 %\r", b"done\n") == "done\n"


def test_a_bar_that_never_ends_takes_no_memory() -> None:
    lines = WholeLines()
    for number in range(1000):
        lines.feed(b"\r%4d of 1000 %s" % (number, b"." * 100), 0.0)
        lines.take(0.0)
    assert lines.size < 200


@pytest.mark.parametrize("cut", range(8))
def test_lines_may_end_as_those_of_windows(cut: int) -> None:
    text = b"one\r\ntwo\r\n"
    lines = WholeLines()
    lines.feed(text[:cut], 0.0)
    shown = lines.take(0.0)
    lines.feed(text[cut:], 0.0)
    assert shown + lines.take(0.0) == "one\ntwo\n"


def test_colours_stay_and_end_with_the_lines() -> None:
    assert taken(b"\x1b[31mred\n") == "\x1b[31mred\x1b[0m\n"
    assert taken(b"\x1b[38;2;1;2;3mred\x1b[m\n").startswith("\x1b[38;2;1;2;3mred\x1b[m")


@pytest.mark.parametrize(
    "control",
    [
        b"\x1b[2J", b"\x1b[10;10H", b"\x1b[?25l", b"\x1b[?1049h", b"\x1bc", b"\x1b(0", b"\x1b7",
        b"\x1b]0;title\x07", b"\x1b]8;;http://x\x1b\\", b"\x1bP1$r\x1b\\", b"\x07", b"\x08",
        b"\x0b", b"\x0c", b"\x0e", b"\x7f", "\x9b2J".encode(), "\x85".encode(), b"\x1b",
    ],
)  # fmt: skip
def test_what_would_move_the_cursor_is_left_out(control: bytes) -> None:
    assert taken(b"a" + control + b"\nb\n") == "a\nb\n"


def test_a_stray_control_takes_nothing_else_along() -> None:
    assert taken("a\x1b]b\x90c\x9dd\n".encode()) == "abcd\n"


def test_tabs_stay() -> None:
    assert taken(b"a\tb\n") == "a\tb\n"


def test_what_is_no_text_in_the_encoding_is_replaced() -> None:
    assert taken(b"a\xffb\n") == "a\ufffdb\n"
    assert taken(b"\xe4\n", encoding="latin-1") == "ä\n"


def test_a_line_without_end_is_shown_in_parts() -> None:
    lines = WholeLines()
    lines.feed(b"x" * 100_000, 0.0)
    assert lines.take(0.0) == "x" * 100_000 + "\n"
