from __future__ import annotations

import threading

import pytest

from cloud_tasks.runtime.background import send_keepalives, watch_probe
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

    def name() -> str:
        raise SystemExit("no name")

    over = threading.Event()
    send_keepalives(0.01, over, name, lambda _: None, lambda text, _: told.append(text))
    assert told == ["sending keep-alives failed: SystemExit: 'no name'"]
    assert "sending keep-alives failed" in caplog.text


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

    send_keepalives(0.01, over, name, send, nothing_is_wrong)
    assert enough.is_set()
    assert told == ["i-1"] * 3
    assert asked == [1]
