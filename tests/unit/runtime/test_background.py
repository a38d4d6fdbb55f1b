from __future__ import annotations

import threading

import pytest

from cloud_tasks.runtime.background import send_keepalives, watch_probe
from cloud_tasks.termination.base import Notice, TerminationProbe

MAYBE, SURE = Notice("maybe", None, final=False), Notice("sure", 2.0)


class Probe(TerminationProbe):
    """Gives *notices*, then waits."""

    def __init__(self, *notices: Notice | Exception) -> None:
        self.notices = list(notices)

    def wait(self, stop: threading.Event) -> Notice | None:
        if self.notices:
            notice = self.notices.pop(0)
            if isinstance(notice, Exception):
                raise notice
            return notice
        stop.wait(20)
        return None


def test_listening_goes_on_until_the_final_notice() -> None:
    notices: list[Notice] = []
    probe = Probe(MAYBE, SURE, MAYBE)
    watch_probe(probe, threading.Event(), notices.append)
    assert notices == [MAYBE, SURE]


def test_listening_ends_with_the_run() -> None:
    over, notices = threading.Event(), list[Notice]()
    listening = threading.Thread(target=watch_probe, args=(Probe(MAYBE), over, notices.append))
    listening.start()
    over.set()
    listening.join(20)
    assert not listening.is_alive()
    assert notices == [MAYBE]


def test_a_probe_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    notices: list[Notice] = []
    watch_probe(Probe(ZeroDivisionError("ours")), threading.Event(), notices.append)
    assert notices == []
    assert "watching for termination notices failed" in caplog.text


def test_signs_of_life_come_at_once_and_then_regularly_with_a_name_asked_for_once() -> None:
    over, enough = threading.Event(), threading.Event()
    told: list[str | None] = []
    asked: list[int] = []

    def name() -> str:
        asked.append(1)
        return "i-1"

    def send(instance_id: str | None) -> None:
        told.append(instance_id)
        if len(told) == 3:
            enough.set()
            over.set()

    send_keepalives(0.01, over, name, send)
    assert enough.is_set()
    assert told == ["i-1"] * 3
    assert asked == [1]
