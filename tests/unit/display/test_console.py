from __future__ import annotations

import logging
import os
import threading

import pytest
from fakes import FakeClock, deliveries

from cloud_tasks.display.console import Console
from cloud_tasks.outcome import Completed, Exited, Raised
from cloud_tasks.policy import RetryRules, decide
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.testing import eventually

FAILED = Raised("ValueError", "no", "trace")
DONE = Completed(False, b"1")


def test_failures_are_warnings_and_what_is_done_is_for_the_curious(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    console = Console(Stats(FakeClock()))
    console.start()
    one, two = deliveries(2)
    console.on_outcome(one, FAILED)
    console.on_outcome(two, Completed(False, b'"%s"'))
    console.stop()  # which waits for a few seconds at most
    eventually(lambda: len(caplog.records) >= 2)
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert said == [(logging.WARNING, "t0: ValueError: no"), (logging.DEBUG, 't1: "%s"')]


def test_progress_is_told_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    console = Console(Stats(FakeClock()), period=0.01)
    console.start()
    eventually(lambda: caplog.text.count("progress done=0") > 2)
    console.stop()


class Blocked(logging.Handler):
    """A terminal that takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.free.wait(30)
        self.lines.append(record.getMessage())


def test_a_console_that_takes_nothing_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine shows thousands of lines more slowly than `stop` has patience.
    monkeypatch.setattr("cloud_tasks.display.console.BACKLOG", 100)
    handler = Blocked()
    logger = logging.getLogger("cloud_tasks.console")
    logger.addHandler(handler)
    console = Console(Stats(FakeClock()))
    console.start()
    delivery = deliveries(1)[0]
    for _ in range(300):
        console.on_outcome(delivery, FAILED)
    handler.free.set()
    console.stop()
    eventually(lambda: "not shown here" in (handler.lines or [""])[-1])
    logger.removeHandler(handler)
    assert len(handler.lines) < 300


def test_a_line_comes_at_each_tenth_of_the_work(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stats = Stats(FakeClock(), total=20)
    console = Console(stats, period=1e6, check_period=0.001)
    console.start()
    for delivery in deliveries(20):
        stats.add(delivery, DONE, decide(DONE, delivery, RetryRules()))
        eventually(lambda: caplog.text.count("progress done=") == stats.ended // 2)
    console.stop()
    assert "done=10/20 pct=50.0" in caplog.text


def test_no_line_comes_where_none_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    console = Console(Stats(FakeClock()), lines=False, period=0.001)
    console.start()
    console.on_outcome(deliveries(1)[0], FAILED)
    eventually(lambda: "ValueError" in caplog.text)
    console.stop()
    assert "progress" not in caplog.text


def test_a_crash_is_explained_below_its_line(caplog: pytest.LogCaptureFixture) -> None:
    console = Console(Stats(FakeClock()))
    console.start()
    for delivery in deliveries(2):
        console.on_outcome(delivery, Exited(-11))
    console.stop()
    first, second = (record.getMessage().splitlines() for record in caplog.records)
    assert first[0] == "t0: killed by signal 11 (SIGSEGV)"
    assert len(first) > 1
    assert second == ["t1: killed by signal 11 (SIGSEGV)"]


def test_it_can_be_stopped_without_a_start_and_twice() -> None:
    console = Console(Stats(FakeClock()))
    console.stop()
    console = Console(Stats(FakeClock()))
    console.start()
    console.stop()
    console.stop()


def test_where_nothing_can_be_drawn_there_are_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    saved = os.dup(2)
    os.close(2)
    console = Console(Stats(FakeClock()), drawn=True, period=0.01)
    try:
        console.start()
        eventually(lambda: "progress done=0" in caplog.text)
        console.stop()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    assert "can't be drawn" in caplog.text
