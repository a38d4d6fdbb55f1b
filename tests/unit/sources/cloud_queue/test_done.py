"""When the job of a queue is done, by what the provider can tell."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from fakes import FakeClock

from cloud_tasks.errors import QueueRefusedError, QueueUnavailableError
from cloud_tasks.queues.base import Backlog
from cloud_tasks.queues.retrying import RetryingQueue
from cloud_tasks.sources.cloud_queue.done import DoneCheck
from cloud_tasks.testing.fake_queue import FakeQueue, FakeServer

LEASE = 40.0
UNKNOWN = Backlog(reason="it counts nothing")


class Told(FakeQueue):
    """Says what the test wants of its backlog; the last answer is repeated."""

    def __init__(self, answers: Sequence[Backlog | Exception]) -> None:
        super().__init__("jobs", FakeServer())
        self.answers = list(answers)
        self.asked = 0

    def backlog(self) -> Backlog:
        self.asked += 1
        answer = self.answers[0]
        if len(self.answers) > 1:
            del self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Check:
    """A check of a worker that receives every second and gets nothing."""

    def __init__(self, *answers: Backlog | Exception) -> None:
        stopped = threading.Event()
        stopped.set()  # so that nothing is retried
        self.clock = FakeClock()
        self.queue = Told(answers)
        queue = RetryingQueue(self.queue, stop=stopped, clock=self.clock)
        self.check = DoneCheck(queue, LEASE, self.clock)

    def seconds_until_done(self, limit: float = 1000.0, step: float = 1.0) -> float | None:
        began = self.clock.now
        while not self.check.is_done():
            self.clock.now += step
            if self.clock.now - began > limit:
                return None
        return self.clock.now - began


def test_an_exact_count_is_believed_at_once() -> None:
    assert Check(Backlog(0, exact=True)).seconds_until_done() == 0.0


def test_an_estimate_must_be_seen_twice_a_lease_apart() -> None:
    check = Check(Backlog(0))
    assert check.seconds_until_done() == LEASE
    assert check.queue.asked == 2


@pytest.mark.parametrize("exact", [True, False])
def test_while_something_is_held_anywhere_it_is_not_done_and_seldom_asked(exact: bool) -> None:
    check = Check(Backlog(1, exact))
    assert check.seconds_until_done(limit=600) is None
    assert check.queue.asked <= 600 / (LEASE / 4) + 1
    check.queue.answers = [Backlog(0, exact)]
    done = check.seconds_until_done()
    assert done is not None
    assert done >= (0 if exact else LEASE)


def test_an_estimate_that_is_not_confirmed_counts_for_nothing() -> None:
    check = Check(Backlog(0), Backlog(3), Backlog(0))
    done = check.seconds_until_done()
    assert done is not None
    assert done >= 2 * LEASE


def test_a_message_in_between_begins_it_all_again() -> None:
    check = Check(Backlog(0))
    assert not check.check.is_done()
    check.clock.now += LEASE - 1
    check.check.busy()
    check.clock.now += 2
    assert check.seconds_until_done() == LEASE


def test_a_count_that_fails_is_made_again_later() -> None:
    check = Check(
        Backlog(0), QueueUnavailableError("away"), QueueUnavailableError("away"), Backlog(0)
    )
    done = check.seconds_until_done()
    assert done is not None
    assert LEASE < done <= 2 * LEASE


def test_a_count_that_is_refused_is_an_error() -> None:
    with pytest.raises(QueueRefusedError, match="forbidden"):
        Check(QueueRefusedError("forbidden")).check.open()


def test_where_nothing_is_counted_a_silence_longer_than_any_pause_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check = Check(UNKNOWN)
    check.check.open()
    (warning,) = caplog.messages
    assert "it counts nothing" in warning
    assert "310 s" in warning
    assert check.seconds_until_done() == 310.0
    assert check.queue.asked == 1


def test_an_outage_is_no_silence() -> None:
    check = Check(UNKNOWN)
    check.check.open()
    assert check.seconds_until_done(limit=300) is None
    check.clock.now += 1000  # a receive that got through only then
    done = check.seconds_until_done()
    assert done == 310.0
