from __future__ import annotations

import socket
import threading

import pytest

from cloud_tasks.runtime.background import InstanceName, send_keepalives, watch_probe
from cloud_tasks.termination.base import Notice, TerminationProbe

MAYBE, SURE = Notice("maybe", None, final=False), Notice("sure", 2.0)


class Probe(TerminationProbe):
    """Gives *notices*, then waits."""

    def __init__(self, *notices: Notice | BaseException) -> None:
        self.notices = list(notices)

    def wait(self, stop: threading.Event) -> Notice | None:
        if self.notices:
            notice = self.notices.pop(0)
            if isinstance(notice, BaseException):
                raise notice
            return notice
        stop.wait(20)
        return None


def nothing_is_wrong(problem: str, error: BaseException) -> None:
    raise AssertionError(problem) from error


def test_listening_goes_on_until_the_final_notice() -> None:
    notices: list[Notice] = []
    probe = Probe(MAYBE, SURE, MAYBE)
    watch_probe(probe, threading.Event(), notices.append, nothing_is_wrong)
    assert notices == [MAYBE, SURE]


def test_listening_ends_with_the_run() -> None:
    over, notices = threading.Event(), list[Notice]()
    arguments = (Probe(MAYBE), over, notices.append, nothing_is_wrong)
    listening = threading.Thread(target=watch_probe, args=arguments)
    listening.start()
    over.set()
    listening.join(20)
    assert not listening.is_alive()
    assert notices == [MAYBE]


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), SystemExit("ours")])
def test_a_probe_that_fails_is_told_and_ends_no_run(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    notices: list[Notice] = []
    told: list[str] = []
    watch_probe(Probe(error), threading.Event(), notices.append, lambda text, _: told.append(text))
    assert notices == []
    assert "watching for termination notices failed" in caplog.text
    name = type(error).__name__
    assert told == [f"watching for termination notices failed: {name}: 'ours'"]


def test_keep_alives_that_fail_are_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def send() -> None:
        raise SystemExit("no queue")

    send_keepalives(0.01, threading.Event(), send, lambda text, _: told.append(text))
    assert told == ["sending keep-alives failed: SystemExit: 'no queue'"]
    assert "sending keep-alives failed" in caplog.text


def test_signs_of_life_come_at_once_and_then_regularly() -> None:
    over = threading.Event()
    told: list[int] = []

    def send() -> None:
        told.append(1)
        if len(told) == 3:
            over.set()

    send_keepalives(0.01, over, send, lambda *_: None)
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
    name.learn(Impatient(), lambda *_: None)
    assert names == [socket.gethostname()] * 2
    assert (name.get(), asked) == ("vm-7", 3)


def test_without_a_provider_it_has_the_name_of_the_host() -> None:
    name = InstanceName(None)
    name.learn(threading.Event(), lambda *_: None)
    assert name.get() == socket.gethostname()


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), SystemExit("ours")])
def test_a_question_that_fails_is_told_and_leaves_the_name_of_the_host(
    error: BaseException,
) -> None:
    def ask() -> str:
        raise error

    name, told = InstanceName(ask), list[str]()
    name.learn(threading.Event(), lambda text, _: told.append(text))
    assert name.get() == socket.gethostname()
    assert told == [
        f"reading the provider's name of this machine failed: {type(error).__name__}: 'ours'"
    ]
