from __future__ import annotations

import logging
import threading

import pytest
from fakes import FakeClock, deliveries

from cloud_tasks.display.console import Console
from cloud_tasks.outcome import Completed, Raised
from cloud_tasks.runtime.stats import Stats
from cloud_tasks.testing import eventually

FAILED = Raised("ValueError", "no", "trace")


def test_failures_are_warnings_and_what_is_done_is_for_the_curious(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    console = Console(Stats(FakeClock()))
    console.start()
    one, two = deliveries(2)
    console.hear(one, FAILED)
    console.hear(two, Completed(False, b'"%s"'))
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
        console.hear(delivery, FAILED)
    handler.free.set()
    console.stop()
    eventually(lambda: "not shown here" in (handler.lines or [""])[-1])
    logger.removeHandler(handler)
    assert len(handler.lines) < 300
