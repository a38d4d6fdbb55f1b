from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_tasks.display.sanitize import ControlEscaper


def shown(*pieces: bytes, colours: bool = True) -> str:
    escaper = ControlEscaper(colours=colours)
    return "".join(escaper.feed(piece) for piece in pieces) + escaper.end()


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"plain\ttext\n", "plain\ttext\n"),
        ("grüße 你好 👩\u200d🚀\n".encode(), "grüße 你好 👩\u200d🚀\n"),
        (b"\x1b[31mred\x1b[m", "\x1b[31mred\x1b[m\x1b[0m"),
        (b"\x1b[38;2;1;2;3mx", "\x1b[38;2;1;2;3mx\x1b[0m"),
        (b"\x1b[2Jx", "\\x1b[2Jx"),
        (b"\x1b[31Hx", "\\x1b[31Hx"),
        (b"\x1b[?25mx", "\\x1b[?25mx"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        (b"a\x08b\x7f\x00", "a\\x08b\\x7f\\x00"),
        ("\u202eabc\u2066".encode(), "\\u202eabc\\u2066"),
        ("\x9b2J".encode(), "\\x9b2J"),
        (b"\x9b2J", "\ufffd2J"),
        (b"10\r20\r\n30\r\r\n", "10\n20\n30\n"),
        (b"end\x1b", "end\\x1b"),
        (b"end\xe2\x82", "end\ufffd"),
        (b"end\r", "end\n"),
    ],
)
def test_colours_and_text_stay_and_the_rest_is_only_shown(output: bytes, text: str) -> None:
    assert shown(output) == text
    assert shown(*(output[n : n + 1] for n in range(len(output)))) == text


def test_colours_can_be_left_out() -> None:
    assert shown(b"\x1b[31mred\x1b[0m", colours=False) == "red"


BYTES = st.lists(
    st.binary(max_size=6)
    | st.sampled_from([b"\x1b", b"[", b"31", b"m", b"\r", b"\n", b"\xe2\x80", b"\xae", b"\x9b"])
)


@settings(deadline=None)
@given(BYTES)
def test_nothing_that_drives_a_terminal_comes_through(pieces: list[bytes]) -> None:
    text = shown(*pieces, colours=False)
    odd = {c for c in text if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t"}
    assert not odd
    assert text == shown(b"".join(pieces), colours=False)
