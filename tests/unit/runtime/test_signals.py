from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from cloud_tasks.runtime.signals import signal_handlers
from cloud_tasks.sources.base import SourceInterrupted
from cloud_tasks.summary import StopReason

pytestmark = pytest.mark.interpreter

HEARD = {
    signal.SIGINT: StopReason.SIGINT,
    signal.SIGTERM: StopReason.SIGTERM,
    signal.SIGHUP: StopReason.SIGTERM,
}


def own_handler(number: int, frame: object) -> None:
    """Be a handler that the program had before."""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.signal(number, own_handler) for number in HEARD}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in HEARD]


@pytest.mark.parametrize("number", HEARD)
def test_each_signal_is_heard_with_its_reason(number: signal.Signals) -> None:
    reasons: list[StopReason] = []
    with signal_handlers(reasons.append):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert reasons == [HEARD[number]] * 2


def test_the_old_handlers_come_back_whatever_happens() -> None:
    with pytest.raises(ZeroDivisionError), signal_handlers(lambda reason: None):  # noqa: PT012
        assert own_handler not in handlers()
        _ = 1 // 0
    assert handlers() == [own_handler] * 3


def test_what_was_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reasons: list[StopReason] = []
    with signal_handlers(reasons.append):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    assert reasons == [StopReason.SIGTERM]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_off_the_main_thread_nothing_is_installed() -> None:
    seen: list[list[object]] = []

    def run() -> None:
        with signal_handlers(lambda reason: None):
            seen.append(handlers())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [[own_handler] * 3]


def test_one_within_the_other_gives_way_in_order() -> None:
    outer: list[StopReason] = []
    inner: list[StopReason] = []
    with signal_handlers(outer.append):
        with signal_handlers(inner.append):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert (len(outer), len(inner)) == (1, 1)


def test_a_wait_in_the_source_is_ended_after_the_signal_was_passed_on() -> None:
    reasons: list[StopReason] = []
    with pytest.raises(SourceInterrupted), signal_handlers(reasons.append, lambda: bool(reasons)):
        os.kill(os.getpid(), signal.SIGINT)
    assert reasons == [StopReason.SIGINT]
