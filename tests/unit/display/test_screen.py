"""The screen on a pseudo-terminal that takes the place of this process's descriptors 1 and 2."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulator import Emulator
from fakes import FakeClock, deliveries
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks.display.console import Console
from cloud_tasks.display.run_info import RunInfo
from cloud_tasks.display.screen import Screen, ScreenLine, is_drawn
from cloud_tasks.executors.base import Running
from cloud_tasks.outcome import Raised
from cloud_tasks.policy import RetryRules, decide
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.testing import eventually

AREA: list[ScreenLine] = [[(" first ", "bold"), ("12 %", "")], [(" second", "red")]]


@contextlib.contextmanager
def emulated() -> Iterator[Emulator]:
    """Put an emulator in the place of descriptors 1 and 2; in the test itself, as pytest does."""
    emulator = Emulator(40, 10)
    saved = os.dup(1), os.dup(2)
    for descriptor in (1, 2):
        os.dup2(emulator.its, descriptor)
    try:
        yield emulator
    finally:
        for descriptor, before in enumerate(saved, 1):
            os.dup2(before, descriptor)
            os.close(before)
        emulator.close()


@contextlib.contextmanager
def drawn() -> Iterator[tuple[Emulator, Screen]]:
    with emulated() as emulator:
        screen = Screen()
        screen.open()
        try:
            yield emulator, screen
        finally:
            screen.give_back()


@pytest.fixture(autouse=True)
def able_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "CI", "COLUMNS", "LINES", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def settled(screen: Screen) -> None:
    screen.collect()
    screen.draw(AREA)


def test_what_is_printed_stands_above_the_area() -> None:
    with drawn() as (emulator, screen):
        screen.draw(AREA)
        emulator.until(" second")
        os.write(1, b"from descriptor 1\n")
        os.write(2, b"from descriptor 2\n")
        subprocess.run(["sh", "-c", "echo from a process; echo and its errors >&2"], check=True)
        settled(screen)
        emulator.until("and its errors")
        assert emulator.lines == [
            "from descriptor 1", "from descriptor 2", "from a process", "and its errors",
            " first 12 %", " second",
        ]  # fmt: skip
        assert emulator.cursor_is_shown


def test_after_the_end_only_what_was_printed_is_left() -> None:
    with drawn() as (emulator, screen):
        settled(screen)
        os.write(1, b"one\ntwo without end")
        screen.close()
        os.write(1, b"later\n")
        emulator.until("later")
        assert emulator.lines == ["one", "two without end", "later"]
        assert emulator.cursor_is_shown
        assert emulator.cursor_is_at_line_begin


def test_the_area_changes_while_something_is_printed_all_the_time() -> None:
    with drawn() as (emulator, screen):
        for number in range(20):
            os.write(1, b"line\n")
            screen.collect()
            screen.draw([[(f" number {number}", "")]])
        emulator.until(" number 19")
        assert sum("number" in line for line in emulator.everything) == 1


def test_a_hundred_thousand_lines_come_whole_and_in_order() -> None:
    with drawn() as (emulator, screen):

        def storm() -> None:
            for number in range(100_000):
                os.write(1 + number % 2, b"%d\n" % number)

        thread = threading.Thread(target=storm)
        thread.start()
        while thread.is_alive():
            screen.collect()
            screen.draw(AREA)
        screen.close()
        emulator.until("99999")
        assert emulator.everything[-100_000:] == [str(number) for number in range(100_000)]


@pytest.mark.parametrize(("columns", "rows"), [(20, 10), (3, 2), (1, 1), (40, 3)])
def test_a_small_terminal_shows_what_fits(columns: int, rows: int) -> None:
    with emulated() as emulator:
        emulator.resize(columns, rows)
        screen = Screen()
        screen.open()
        for _ in range(3):
            screen.draw([[("x" * 200, "")]] * 7)
        screen.close()
        os.write(1, b"end\n")
        emulator.until(lambda: "end" in emulator.text)
        assert emulator.lines == ["end"]


def test_a_terminal_that_changes_its_size_is_followed() -> None:
    with drawn() as (emulator, screen):
        assert screen.width == 40
        emulator.resize(25, 10)
        assert screen.width == 25
        emulator.resize(0, 0)
        assert screen.width == 80


def test_colours_are_left_out_where_nobody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulated() as emulator:
        monkeypatch.setenv("NO_COLOR", "1")
        screen = Screen()
        screen.open()
        screen.draw(AREA)
        emulator.until("second")
        screen.close()
        assert b"\x1b[31m" not in emulator.raw
        assert b"\x1b[38" not in emulator.raw


def test_only_what_leads_to_the_terminal_is_taken(tmp_path: Path) -> None:
    with emulated() as emulator:
        with (tmp_path / "out").open("wb") as file:
            os.dup2(file.fileno(), 1)
        screen = Screen()
        screen.open()
        os.write(1, b"for the file\n")
        os.write(2, b"for the screen\n")
        screen.close()
        emulator.until("for the screen")
        assert emulator.lines == ["for the screen"]
        assert (tmp_path / "out").read_bytes() == b"for the file\n"


def test_a_closed_standard_output_stays_closed() -> None:
    with emulated() as emulator:
        os.close(1)
        screen = Screen()
        screen.open()
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(1)
        done = subprocess.run(["sh", "-c", "echo lost; echo found >&2"], check=False)
        screen.close()
        emulator.until("found")
        assert done.returncode == 0
        assert "lost\n" not in emulator.text


def test_no_descriptor_is_left_open() -> None:
    with emulated() as emulator:
        terminal = what(emulator.its)
        before = leading_to(terminal)
        screen = Screen()
        screen.open()
        pipe = what(1)
        assert pipe != terminal
        assert len(leading_to(terminal)) + len(leading_to(pipe)) > len(before) + 1
        screen.draw(AREA)
        screen.close()
        assert leading_to(terminal) == before
        assert leading_to(pipe) == set()


def what(descriptor: int) -> tuple[int, int]:
    """Return what *descriptor* leads to."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def leading_to(target: tuple[int, int]) -> set[int]:
    """Return the descriptors that lead there; those of other threads come and go."""
    found = set()
    for path in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):
            if what(int(path.name)) == target:
                found.add(int(path.name))
    return found


def test_children_get_no_descriptor_of_ours() -> None:
    with emulated():
        before = inherited()
        screen = Screen()
        screen.open()
        assert inherited() == before
        screen.close()


def inherited() -> str:
    code = "import os; print(os.listdir('/dev/fd'))"
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, close_fds=False
    ).stdout


def test_what_outlives_the_run_is_heard_to_its_end(tmp_path: Path) -> None:
    with drawn() as (emulator, screen):
        code = f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo still here"
        with subprocess.Popen(["sh", "-c", code]):
            screen.close()
            (tmp_path / "go").touch()
            emulator.until("still here")
        eventually(lambda: "cloud_tasks-leftovers" not in {t.name for t in threading.enumerate()})


def test_a_defect_in_drawing_costs_the_drawing_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> list[Running]:
        raise ZeroDivisionError

    with emulated() as emulator:
        console = Console(Stats(FakeClock()), RunInfo(running=fail), drawn=True)
        console.start()
        eventually(lambda: "can't be drawn any more" in caplog.text)
        subprocess.run(["sh", "-c", "echo heard all the same"], check=True)
        console.stop()
        emulator.until("heard all the same")


def test_a_console_draws_until_it_is_stopped() -> None:
    with emulated() as emulator:
        stats = Stats(FakeClock(), total=4)
        console = Console(stats, RunInfo(name="primes"), drawn=True)
        console.start()
        emulator.until("primes  ╺")
        for delivery in deliveries(3):
            outcome = Raised("ValueError", "no header", "")
            stats.add(delivery, outcome, decide(outcome, delivery, RetryRules()))
            console.on_outcome(delivery, outcome)
        emulator.until("75.0 %")
        emulator.until(" x t0: ValueError: no header")
        os.write(1, b"said by the program itself\n")
        console.stop()
        os.write(2, b"end\n")
        emulator.until("end")
        assert emulator.lines == [
            " x t0: ValueError: no header",
            "said by the program itself",
            "end",
        ]


def test_a_terminal_that_goes_away_stops_nobody() -> None:
    with drawn() as (emulator, screen):
        screen.draw(AREA)
        emulator.hang_up()
        for _ in range(40):
            os.write(1, b"x" * 60_000 + b"\n")  # more than the pipe holds
            screen.collect()
            screen.draw(AREA)
        screen.close()


@pytest.mark.parametrize(
    ("mode", "environment", "taken", "drawn"),
    [
        ("auto", {"TERM": "xterm"}, False, True),
        ("auto", {"TERM": "xterm"}, True, False),
        ("auto", {"TERM": "xterm", "CI": "true"}, False, False),
        ("auto", {"TERM": "dumb"}, False, False),
        ("auto", {}, False, False),
        ("auto", {"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ("on", {"TERM": "xterm", "CI": "true"}, True, True),
        ("on", {"TERM": "dumb"}, False, False),
        ("off", {"TERM": "xterm"}, False, False),
    ],
)
def test_it_is_drawn_where_a_person_sees_it(
    mode: str, environment: dict[str, str], taken: bool, drawn: bool
) -> None:
    root, console = logging.getLogger(), logging.getLogger("cloud_tasks.console")
    with emulated(), open(2, "w", closefd=False) as stream:
        handler = logging.StreamHandler(stream)
        root.addHandler(handler)
        console.setLevel(logging.INFO)
        try:
            assert is_drawn(mode, terminal_taken=taken, environment=environment) is drawn
        finally:
            root.removeHandler(handler)
            console.setLevel(logging.NOTSET)


def test_it_is_not_drawn_for_a_user_whose_log_goes_elsewhere() -> None:
    with emulated():
        assert not is_drawn("auto", environment={"TERM": "xterm"})
        assert is_drawn("on", environment={"TERM": "xterm"})


def test_it_is_not_drawn_into_a_file(tmp_path: Path) -> None:
    saved = os.dup(2)
    with (tmp_path / "err").open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        assert not is_drawn("on", environment={"TERM": "xterm"})
    finally:
        os.dup2(saved, 2)
        os.close(saved)
