from __future__ import annotations

import errno
import logging
import os

import pytest

from cloud_tasks.executors.pool.boot_failures import (
    MAX_EQUAL_FAILURES,
    ZYGOTE_LOST,
    BootFailures,
)
from cloud_tasks.system.shortage import PATIENCE, WARNING_PERIOD

IMPORT_ERROR = "Traceback\n  a frame\nImportError: no such luck"
#: Reason and exit code of failures that pass.
PASSING = [
    ("it ended with exit code -9", -9),
    ("it ended with exit code -15", -15),
    (ZYGOTE_LOST, None),
    ("Traceback\nRuntimeError: can't start new thread", 1),
    ("Traceback\nMemoryError", 1),
    *(
        (f"no process could be started: {OSError(number, os.strerror(number))}", None)
        for number in (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
    ),
]
#: Those that show that the program can't start.
LASTING = [
    (IMPORT_ERROR, 1),
    ("it ended with exit code 3", 3),
    ("Fatal Python error: Segmentation fault\nit ended with exit code -11", -11),
    (f"no process could be started: {OSError(errno.ENOENT, 'No such file')}", None),
]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(clock: Clock) -> BootFailures:
    return BootFailures(clock)


@pytest.mark.parametrize(("reason", "code"), LASTING)
def test_a_program_that_can_not_start_breaks_the_pool(
    failures: BootFailures, reason: str, code: int | None
) -> None:
    for _ in range(MAX_EQUAL_FAILURES - 1):
        assert failures.record(reason, code, working=False) is None
    broken = failures.record(reason, code, working=False)
    assert broken is not None
    assert reason.rpartition("\n")[2] in broken


@pytest.mark.parametrize(("reason", "code"), PASSING)
def test_a_short_shortage_is_waited_for(
    failures: BootFailures, clock: Clock, reason: str, code: int | None
) -> None:
    for second in range(60):
        clock.now = 1000.0 + second
        for _ in range(8):  # slots that all fail together
            assert failures.record(reason, code, working=False) is None
        assert clock.now < failures.retry_at <= clock.now + 5


@pytest.mark.parametrize(("reason", "code"), PASSING)
def test_a_lasting_shortage_breaks_the_pool_and_is_named(
    failures: BootFailures, clock: Clock, reason: str, code: int | None
) -> None:
    assert failures.record(reason, code, working=False) is None
    clock.now += PATIENCE + 1
    broken = failures.record(reason, code, working=False)
    assert broken is not None
    assert reason.rpartition("\n")[2] in broken


def test_while_other_processes_work_there_is_no_hurry(failures: BootFailures, clock: Clock) -> None:
    reason, code = PASSING[0]
    for _ in range(10):
        assert failures.record(reason, code, working=True) is None
        clock.now += PATIENCE
    assert failures.record(reason, code, working=False) is None


def test_after_a_process_was_ready_a_failing_program_is_waited_for(
    failures: BootFailures, clock: Clock
) -> None:
    failures.on_ready()
    for _ in range(3 * MAX_EQUAL_FAILURES):
        assert failures.record(IMPORT_ERROR, 1, working=False) is None
    clock.now += PATIENCE + 1
    assert failures.record(IMPORT_ERROR, 1, working=False) is not None


def test_a_process_that_gets_ready_ends_the_shortage(failures: BootFailures, clock: Clock) -> None:
    reason, code = PASSING[0]
    failures.record(reason, code, working=False)
    clock.now += PATIENCE - 1
    failures.on_ready()
    clock.now += PATIENCE - 1
    assert failures.record(reason, code, working=False) is None
    clock.now += PATIENCE - 1
    assert failures.record(reason, code, working=False) is None


def test_kills_in_between_do_not_hide_a_program_that_can_not_start(
    failures: BootFailures,
) -> None:
    for _ in range(MAX_EQUAL_FAILURES - 1):
        assert failures.record(IMPORT_ERROR, 1, working=False) is None
    assert failures.record(*PASSING[0], working=False) is None
    for _ in range(MAX_EQUAL_FAILURES - 1):
        assert failures.record(IMPORT_ERROR, 1, working=False) is None
    assert failures.record(IMPORT_ERROR, 1, working=False) is not None


def test_words_that_differ_in_numbers_alone_are_the_same(failures: BootFailures) -> None:
    said = [
        failures.record(f"OSError: /tmp/x{n} at {hex(n)}", 1, working=False)
        for n in range(MAX_EQUAL_FAILURES)
    ]
    assert said[-1] is not None


def test_different_words_are_not_the_same_failure(failures: BootFailures) -> None:
    for n in range(4 * MAX_EQUAL_FAILURES):
        assert failures.record("abcd"[n % 4], 1, working=False) is None


def test_a_burst_counts_once_for_the_pause(failures: BootFailures, clock: Clock) -> None:
    pauses = []
    for _ in range(8):
        for _ in range(8):
            failures.record(*PASSING[0], working=False)
        pauses.append(failures.retry_at - clock.now)
        clock.now = failures.retry_at
    assert pauses == sorted(pauses)
    assert pauses[0] < 1
    assert pauses[-1] == pytest.approx(5)


def test_a_shortage_is_warned_of_at_once_and_every_minute(
    failures: BootFailures, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(int(2 * WARNING_PERIOD)):
            failures.record(*PASSING[0], working=True)
            clock.now += 1
    assert len(caplog.records) == 2
