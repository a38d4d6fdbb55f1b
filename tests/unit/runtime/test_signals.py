from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

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
    assert reasons == [HEARD[number]]


@pytest.mark.parametrize("first", HEARD)
@pytest.mark.parametrize("second", HEARD)
def test_a_hang_up_is_never_the_second_signal(
    first: signal.Signals, second: signal.Signals
) -> None:
    reasons: list[StopReason] = []
    with signal_handlers(reasons.append):
        os.kill(os.getpid(), first)
        os.kill(os.getpid(), second)
    expected = [HEARD[first]] if second == signal.SIGHUP else [HEARD[first], HEARD[second]]
    assert reasons == expected


def test_the_old_handlers_come_back_whatever_happens() -> None:
    with pytest.raises(ZeroDivisionError), signal_handlers(lambda reason: None):  # noqa: PT012
        assert own_handler not in handlers()
        _ = 1 // 0
    assert handlers() == [own_handler] * 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_was_ignored_stays_ignored(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_IGN)
    reasons: list[StopReason] = []
    with signal_handlers(reasons.append):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
    assert reasons == [StopReason.SIGTERM]
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.fixture
def _signal_state() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)
    before = {number: signal.getsignal(number) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@pytest.mark.usefixtures("_signal_state")
@pytest.mark.parametrize(
    ("number", "before", "during"),
    [
        (signal.SIGCHLD, signal.SIG_IGN, signal.SIG_DFL),
        (signal.SIGCHLD, own_handler, own_handler),
        (signal.SIGPIPE, signal.SIG_DFL, signal.SIG_IGN),
        (signal.SIGPIPE, own_handler, signal.SIG_IGN),
    ],
)
def test_what_a_run_relies_on_is_set_and_put_back(
    number: signal.Signals, before: Any, during: Any
) -> None:
    signal.signal(number, before)
    with signal_handlers(lambda reason: None):
        assert signal.getsignal(number) == during
    assert signal.getsignal(number) == before


@pytest.mark.usefixtures("_signal_state")
def test_an_ignored_sigterm_is_obeyed() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    reasons: list[StopReason] = []
    with signal_handlers(reasons.append):
        os.kill(os.getpid(), signal.SIGTERM)
    assert reasons == [StopReason.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.usefixtures("_signal_state")
@pytest.mark.parametrize("number", HEARD)
def test_blocked_signals_are_obeyed_and_blocked_again(number: signal.Signals) -> None:
    blocked = {*signal.valid_signals()} - {signal.SIGKILL, signal.SIGSTOP}
    signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    signal.pthread_kill(threading.get_ident(), number)  # it waits for the run, too
    reasons: list[StopReason] = []
    with signal_handlers(reasons.append):
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert mask.isdisjoint({*HEARD, signal.SIGCHLD, signal.SIGALRM})
    assert reasons == [HEARD[number]]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


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
