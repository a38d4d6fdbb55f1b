from __future__ import annotations

import socket
import threading

import pytest

from cloud_tasks.runtime.background import InstanceName, send_keepalives, watch_probe
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


def test_signs_of_life_come_at_once_and_then_regularly() -> None:
    over = threading.Event()
    told: list[int] = []

    def send() -> None:
        told.append(1)
        if len(told) == 3:
            over.set()

    send_keepalives(0.01, over, send)
    assert told == [1] * 3


def test_the_name_of_the_machine_is_asked_for_until_it_is_known() -> None:
    asked = 0

    def ask() -> str | None:
        nonlocal asked
        asked += 1
        return "vm-7" if asked == 3 else None

    class Impatient(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            names.append(name.get())
            return super().wait(0)

    name, names = InstanceName(ask), list[str]()
    name.learn(Impatient())
    assert names == [socket.gethostname()] * 2
    assert (name.get(), asked) == ("vm-7", 3)


def test_without_a_provider_it_has_the_name_of_the_host() -> None:
    name = InstanceName(None)
    name.learn(threading.Event())
    assert name.get() == socket.gethostname()


def test_a_question_that_fails_leaves_the_name_of_the_host(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def ask() -> str:
        raise ZeroDivisionError("ours")

    name = InstanceName(ask)
    name.learn(threading.Event())
    assert name.get() == socket.gethostname()
    assert "the provider's name of this machine can't be read" in caplog.text
