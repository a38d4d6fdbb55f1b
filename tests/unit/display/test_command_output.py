from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import pytest
from emulator import Emulator

from cloud_tasks.display import command_output
from cloud_tasks.display.command_output import StatusLine
from cloud_tasks.testing import eventually


@contextlib.contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, term: str) -> Iterator[Emulator]:
    """Put an emulator in the place of standard error; in the test itself, as pytest does."""
    for name in ("NO_COLOR", "FORCE_COLOR", "LINES", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    # rich asks descriptors for the width, and standard error's is not the emulator here.
    monkeypatch.setenv("COLUMNS", "40")
    emulator = Emulator(40, 10)
    with os.fdopen(os.dup(emulator.its), "w", encoding="utf-8", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        yield emulator
    emulator.close()


def test_on_a_terminal_one_line_is_rewritten_and_gone_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {"loaded": 1, "a_name_that_is_much_too_long_for_it": 2}
    with terminal(monkeypatch, "xterm-256color") as emulator:
        with StatusLine(lambda: counts) as status:
            emulator.until("loaded=1 ")
            assert emulator.cursor_is_shown
            counts["loaded"] = 2
            emulator.until("loaded=2 ")
            status.print("a line of \x1b[2J its own")
            eventually(lambda: len(emulator.lines) == 2)
            assert emulator.lines[1].endswith("…")
        os.write(emulator.its, b"end\n")
        emulator.until("end")
        assert emulator.lines == ["a line of \\x1b[2J its own", "end"]


@pytest.mark.parametrize(("term", "rewrite"), [("dumb", True), ("xterm", False)])
def test_where_no_line_can_be_rewritten_lines_are_printed(
    monkeypatch: pytest.MonkeyPatch, term: str, rewrite: bool
) -> None:
    monkeypatch.setattr(command_output, "_PERIOD", 0.05)
    with terminal(monkeypatch, term) as emulator:
        with StatusLine(lambda: {"n": 1}, rewrite=rewrite) as status:
            status.print("a line")
            emulator.until("progress n=1 rate=")
        assert b"\x1b" not in emulator.raw
        assert emulator.everything[0] == "a line"


def test_without_a_terminal_rich_is_not_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich.live", None)
    with StatusLine(lambda: {"n": 1}) as status:
        status.print("a line")
    assert capsys.readouterr().err == "a line\n"
