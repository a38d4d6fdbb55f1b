from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import Shutdowns

from cloud_tasks.errors import EventLogError, SourceError
from cloud_tasks.runtime.lifecycle import AllDone, Failure, Lifecycle, State, Stop
from cloud_tasks.runtime.signals import signal_handlers
from cloud_tasks.summary import StopReason
from cloud_tasks.termination.base import Notice

pytestmark = pytest.mark.interpreter

GRACE = 7.0
INT, TERM = Stop(StopReason.SIGINT), Stop(StopReason.SIGTERM)
ASKED = Stop(StopReason.REQUESTED)


@pytest.fixture
def executor() -> Iterator[Shutdowns]:
    with ThreadPoolExecutor(1) as pool:
        yield Shutdowns(pool)


@pytest.fixture
def life(executor: Shutdowns) -> Lifecycle:
    return Lifecycle(executor, GRACE, under_way=lambda: 7)


def test_begins_running_with_nothing_to_say(life: Lifecycle) -> None:
    assert (life.state, life.reason, life.failure) == (State.RUNNING, StopReason.DONE, None)
    assert not life.draining
    assert life.next_message(0) is None


def test_a_stop_drains_within_the_grace_period(life: Lifecycle, executor: Shutdowns) -> None:
    life.stop(TERM)
    assert (life.state, life.reason) == (State.DRAINING, StopReason.SIGTERM)
    assert life.draining
    assert executor.graces == [GRACE]
    assert executor.flags.shutdown_request
    assert not executor.flags.termination_notice


def test_the_second_stop_kills(life: Lifecycle, executor: Shutdowns) -> None:
    life.stop(INT)
    life.stop(TERM)
    assert (life.state, life.reason) == (State.KILLING, StopReason.SIGINT)
    assert executor.graces == [GRACE, 0]


def test_a_stop_at_once_kills(life: Lifecycle, executor: Shutdowns) -> None:
    life.stop(Stop(StopReason.REQUESTED, now=True))
    assert life.state is State.KILLING
    assert executor.graces == [0]


@pytest.mark.parametrize(("after", "grace"), [(None, math.inf), (25.0, 25.0)])
def test_a_notice_drains_for_as_long_as_the_provider_gives(
    life: Lifecycle, executor: Shutdowns, after: float | None, grace: float
) -> None:
    life.notice(Notice("test", after))
    assert (life.state, life.reason) == (State.DRAINING, StopReason.SPOT)
    assert executor.graces == [grace]
    assert executor.flags.termination_notice
    assert not executor.flags.shutdown_request


def test_a_notice_that_is_not_final_changes_nothing_but_is_logged(
    life: Lifecycle, executor: Shutdowns, caplog: pytest.LogCaptureFixture
) -> None:
    warning = Notice("rebalance recommendation", None, final=False)
    life.post(warning)
    assert not life.draining
    life.notice(warning)
    assert (life.state, life.reason) == (State.RUNNING, StopReason.DONE)
    assert not executor.flags.termination_notice
    assert executor.graces == []
    assert "rebalance recommendation" in caplog.text


def test_the_first_signal_after_a_notice_is_a_first_signal(
    life: Lifecycle, executor: Shutdowns
) -> None:
    life.notice(Notice("test", None))
    life.stop(TERM)
    assert (life.state, life.reason) == (State.DRAINING, StopReason.SIGTERM)
    assert executor.flags.shutdown_request
    life.stop(TERM)
    assert life.state is State.KILLING
    assert executor.graces == [math.inf, GRACE, 0]


def test_a_notice_after_a_signal_is_passed_on_to_the_tasks(
    life: Lifecycle, executor: Shutdowns
) -> None:
    life.stop(INT)
    life.notice(Notice("test", 3.0))
    assert (life.state, life.reason) == (State.DRAINING, StopReason.SIGINT)
    assert executor.flags.termination_notice
    assert executor.graces == [GRACE, 3.0]


def test_a_failure_of_the_source_lets_everything_come_to_its_end(
    life: Lifecycle, executor: Shutdowns
) -> None:
    life.fail(Failure(SourceError("cut off")))
    assert (life.state, life.reason) == (State.RUNNING, StopReason.FAILED)
    assert not life.draining
    assert executor.graces == []


def test_another_failure_of_ours_drains_or_kills(life: Lifecycle, executor: Shutdowns) -> None:
    states = []
    for failure in (Failure(EventLogError("full")), Failure(EventLogError("more"), now=True)):
        life.fail(failure)
        states.append(life.state)
    assert states == [State.DRAINING, State.KILLING]
    assert executor.graces == [math.inf, 0]
    assert str(life.failure) == "full"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([ASKED, INT], StopReason.SIGINT),
        ([INT, TERM], StopReason.SIGINT),
        ([TERM, ASKED], StopReason.SIGTERM),
        ([Notice("n", None), ASKED], StopReason.SPOT),
        ([Failure(EventLogError("x")), INT], StopReason.SIGINT),
        ([Failure(EventLogError("x")), Notice("n", None)], StopReason.SPOT),
        ([ASKED, Failure(EventLogError("x"))], StopReason.FAILED),
    ],
    ids=str,
)
def test_of_several_reasons_the_weightiest_is_told(
    life: Lifecycle, messages: list[Stop | Notice | Failure], reason: StopReason
) -> None:
    for message in messages:
        if isinstance(message, Stop):
            life.stop(message)
        elif isinstance(message, Notice):
            life.notice(message)
        else:
            life.fail(message)
    assert life.reason is reason


def test_no_task_starts_from_the_moment_of_the_request_on(life: Lifecycle) -> None:
    draining = []
    for message in (AllDone(), INT):
        life.post(message)
        draining.append(life.draining)
    assert draining == [False, True]
    assert [life.next_message(1), life.next_message(1), life.next_message(0)] == [
        AllDone(),
        INT,
        None,
    ]


@pytest.fixture
def signals_arrive() -> Iterator[None]:
    """Have SIGINT and SIGTERM heeded, though whoever started us may have had them ignored."""
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_arrive")
def test_a_burst_of_signals_in_the_middle_of_each_other_blocks_nobody(life: Lifecycle) -> None:
    with signal_handlers(lambda reason: life.post(Stop(reason))):
        for _ in range(200):
            os.kill(os.getpid(), signal.SIGINT)
            life.post(TERM)
            os.kill(os.getpid(), signal.SIGTERM)
    got = 0
    while life.next_message(0) is not None:
        got += 1
    assert got == 600


def test_a_stop_says_what_it_waits_for(life: Lifecycle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        life.stop(INT)
    (line,) = caplog.messages
    assert line == (
        f"stopping: 1 running task may finish within {GRACE:g} s (Ctrl-C again kills it now)"
    )


def test_too_many_failures_are_no_reason_to_kill_at_the_first_ctrl_c(
    life: Lifecycle, executor: Shutdowns
) -> None:
    life.stop(Stop(StopReason.TOO_MANY_FAILURES))
    life.stop(INT)
    assert (life.state, life.reason) == (State.DRAINING, StopReason.SIGINT)
    assert executor.graces == [GRACE, GRACE]
    life.stop(INT)
    assert life.state is State.KILLING
