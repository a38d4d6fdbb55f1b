"""Requests are repeated as long as that may help, and no longer."""

from __future__ import annotations

import itertools
import math
import random
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fakes import FakeClock

from cloud_tasks.errors import (
    QueueError,
    QueueMissingError,
    QueueRefusedError,
    QueueUnavailableError,
)
from cloud_tasks.queues.base import MessageQueue, QueueSpec
from cloud_tasks.queues.retrying import MISSING_GRACE, Pauses, RetryingQueue
from cloud_tasks.testing import eventually
from cloud_tasks.testing.fake_queue import FakeProvider, FakeServer, Stored
from cloud_tasks.testing.queue_harness import outgoing, put, take

AWAY = QueueUnavailableError("fake queue 'jobs' can't be reached")
TINY = Pauses(first=0.0005, longest=0.002)
#: Nobody waits for the end of such pauses.
ENDLESS = Pauses(first=1e6, longest=1e6)
OPERATIONS = ["check", "receive", "send", "extend", "ack", "release"]


class Stop(threading.Event):
    """Tells whether somebody has begun to pause, and would be woken by it."""

    paused = False

    def wait(self, timeout: float | None = None) -> bool:
        self.paused = True
        return super().wait(timeout)


class Setting:
    """A queue of three messages that one test breaks, as a worker sees it."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.clock = FakeClock()
        self.stop = Stop()
        self.told: list[tuple[str, str, float]] = []
        provider = FakeProvider(self.server)
        provider.admin("jobs").create(QueueSpec())
        self.plain = provider.queue("jobs")
        put(self.plain, ["0", "1", "2"])
        self.plain.requests.clear()

    @property
    def stored(self) -> Stored:
        return self.server.stored("jobs")

    def queue(self, pauses: Pauses = TINY, **budgets: float) -> RetryingQueue:
        return RetryingQueue(
            self.plain,
            stop=self.stop,
            budgets=budgets,
            on_trouble=self.tell,
            pauses=pauses,
            clock=self.clock,
        )

    def tell(self, operation: str, error: QueueError, seconds: float) -> None:
        self.told.append((operation, str(error), seconds))


@pytest.fixture
def setting() -> Setting:
    return Setting()


def perform(operation: str, queue: RetryingQueue, plain: MessageQueue, **budget: Any) -> Any:
    calls: dict[str, Callable[[], Any]] = {
        "check": lambda: queue.check(**budget),
        "receive": lambda: queue.receive(1, wait=0, lease=30, **budget),
        "send": lambda: queue.send(outgoing(["x"]), **budget),
        "extend": lambda: queue.extend(take(plain, 1), 30, **budget),
        "ack": lambda: queue.ack(take(plain, 1), **budget),
        "release": lambda: queue.release(take(plain, 1), **budget),
    }
    return calls[operation]()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_unavailable_is_tried_again(setting: Setting, operation: str) -> None:
    setting.stored.refuse(operation, 4, AWAY)
    perform(operation, setting.queue(), take_side(setting))
    assert setting.plain.requests[operation] == 5


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_refused_is_final_at_once(setting: Setting, operation: str) -> None:
    setting.stored.refuse(operation, math.inf, QueueRefusedError("no right to do so"))
    with pytest.raises(QueueRefusedError, match="no right"):
        perform(operation, setting.queue(), take_side(setting))
    assert setting.plain.requests[operation] == 1
    assert setting.told == []


@pytest.mark.parametrize("operation", OPERATIONS)
def test_at_the_end_of_its_budget_a_call_raises_the_last_error(
    setting: Setting, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Time goes on a little at each look at it and not otherwise: a machine that is busy elsewhere
    # would use up the budget before the second try.
    looks = itertools.count()
    slow = types.SimpleNamespace(monotonic=lambda: 0.001 * next(looks))
    for module in ("tenacity", "cloud_tasks.queues.retrying"):
        monkeypatch.setattr(f"{module}.time", slow)
    setting.stored.refuse(operation, math.inf, AWAY)
    with pytest.raises(QueueUnavailableError, match="can't be reached"):
        perform(operation, setting.queue(), take_side(setting), budget=0.1)
    assert setting.plain.requests[operation] > 1


def test_a_call_ends_before_its_budget_rather_than_after_it(setting: Setting) -> None:
    setting.stored.refuse("check", math.inf, AWAY)
    with pytest.raises(QueueUnavailableError):
        setting.queue(ENDLESS, check=60).check()
    assert setting.plain.requests["check"] == 1


def test_without_a_budget_a_request_is_made_once(setting: Setting) -> None:
    setting.stored.refuse("ack", math.inf, AWAY)
    with pytest.raises(QueueUnavailableError):
        setting.queue().ack(take(take_side(setting), 1), budget=0)
    assert setting.plain.requests["ack"] == 1


def test_only_the_messages_that_failed_are_sent_again(setting: Setting) -> None:
    setting.stored.fail_messages("send", 4, "slow down")
    assert setting.queue().send(outgoing(["a", "b", "c", "d", "e"])) == []
    assert sorted(held.body for held in setting.stored.copies) == [
        *[b"0", b"1", b"2"],
        *[b"a", b"b", b"c", b"d", b"e"],
    ]
    assert setting.plain.requests["send"] == 2


def test_messages_that_fail_to_the_end_are_returned_by_their_place(setting: Setting) -> None:
    setting.stored.fail_messages("send", math.inf, "slow down")
    sent = outgoing([f"{n}" for n in range(13)])
    failures = setting.queue().send(sent, budget=0.05)
    assert [(f.index, f.reason, f.lost) for f in failures] == [
        (n, "slow down", False) for n in range(13)
    ]


def test_a_lost_message_is_never_tried_again(setting: Setting) -> None:
    held = take(take_side(setting), 3)
    setting.plain.release(held[1:2])
    setting.plain.requests.clear()
    failures = setting.queue().ack(held)
    assert [(failure.index, failure.lost) for failure in failures] == [(1, True)]
    assert setting.plain.requests["ack"] == 1


def test_lost_and_failed_messages_of_one_call_keep_their_places(setting: Setting) -> None:
    big = "x" * (setting.plain.limits.message_bytes + 1)
    setting.stored.fail_messages("send", 3, "slow down")
    failures = setting.queue().send(outgoing(["a", "b", big, "c", "d", big]))
    assert [(failure.index, failure.lost) for failure in failures] == [(2, True), (5, True)]
    assert len(setting.stored.copies) == 3 + 4


def test_of_a_long_call_only_the_request_that_failed_is_made_again(setting: Setting) -> None:
    setting.server.trouble = FailingAt(2)
    assert setting.queue().send(outgoing(["x"] * 25)) == []
    assert len(setting.stored.copies) == 3 + 25
    assert setting.plain.requests["send"] == 4


def test_a_send_whose_answer_was_lost_may_come_twice_and_never_not_at_all(
    setting: Setting,
) -> None:
    setting.stored.drop_answers("send", 1)
    assert setting.queue().send(outgoing(["x"])) == []
    assert [held.body for held in setting.stored.copies].count(b"x") == 2


def test_an_ack_whose_answer_was_lost_is_no_failure(setting: Setting) -> None:
    setting.stored.drop_answers("ack", 1)
    assert setting.queue().ack(take(take_side(setting), 3)) == []


def test_trouble_is_told_at_first_and_then_once_a_minute(setting: Setting) -> None:
    def trouble(name: str, operation: str) -> QueueError | None:
        setting.clock.now += 10
        return AWAY if setting.plain.requests["receive"] <= 14 else None

    setting.server.trouble = trouble
    setting.queue().receive(1, wait=0, lease=30)
    assert setting.told == [("receive", str(AWAY), seconds) for seconds in (0.0, 60.0, 120.0)]


def test_a_new_series_of_failures_is_told_again(setting: Setting) -> None:
    queue = setting.queue()
    for _ in range(2):
        setting.stored.refuse("check", 3, AWAY)
        queue.check()
    assert setting.told == [("check", str(AWAY), 0.0)] * 2


def test_calls_that_fail_one_after_the_other_are_one_series(setting: Setting) -> None:
    setting.stored.refuse("check", 3, AWAY)
    queue = setting.queue()
    for _ in range(3):
        with pytest.raises(QueueUnavailableError):
            queue.check(budget=0)
    assert len(setting.told) == 1


def test_a_missing_queue_is_final_for_a_check(setting: Setting) -> None:
    del setting.server.queues["jobs"]
    with pytest.raises(QueueMissingError, match="jobs"):
        setting.queue().check()
    assert setting.plain.requests["check"] == 1


def test_a_queue_that_is_made_anew_in_mid_run_is_found_again(setting: Setting) -> None:
    stored = setting.server.queues.pop("jobs")
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(setting.queue().receive, 3, wait=0, lease=30)
        eventually(lambda: setting.plain.requests["receive"] > 3)
        setting.server.queues["jobs"] = stored
        assert len(received.result(30)) == 3
    assert [operation for operation, _, _ in setting.told] == ["receive"]


def test_a_queue_that_stays_away_is_missing_for_good_after_the_grace(setting: Setting) -> None:
    del setting.server.queues["jobs"]

    def trouble(name: str, operation: str) -> None:
        setting.clock.now += 7

    setting.server.trouble = trouble
    began = setting.clock.now
    with pytest.raises(QueueMissingError):
        setting.queue().receive(1, wait=0, lease=30)
    assert MISSING_GRACE <= setting.clock.now - began < MISSING_GRACE + 15


def test_a_short_call_to_a_missing_queue_leaves_hope_until_the_grace_is_over(
    setting: Setting,
) -> None:
    del setting.server.queues["jobs"]
    queue = setting.queue()
    with pytest.raises(QueueUnavailableError, match="jobs"):
        queue.send(outgoing(["x"]), budget=0)
    setting.clock.now += MISSING_GRACE
    with pytest.raises(QueueMissingError, match="jobs"):
        queue.send(outgoing(["x"]), budget=0)


@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_stop_ends_a_pause_at_once(setting: Setting, how: str) -> None:
    setting.stored.refuse("receive", math.inf, AWAY)
    queue = setting.queue(ENDLESS)
    with ThreadPoolExecutor(1) as pool:
        received = pool.submit(queue.receive, 1, wait=0, lease=30)
        eventually(lambda: setting.stop.paused, what="a pause after the first failure")
        setting.stop.set() if how == "stop" else queue.close()
        assert received.result(30) == []
    assert setting.plain.requests["receive"] == 1


def test_after_a_stop_in_a_pause_there_is_one_more_try(setting: Setting) -> None:
    setting.stored.refuse("ack", 1, AWAY)
    held = take(take_side(setting), 1)
    queue = setting.queue(ENDLESS, ack=math.inf)
    with ThreadPoolExecutor(1) as pool:
        acked = pool.submit(queue.ack, held)
        eventually(lambda: setting.stop.paused, what="a pause after the first failure")
        setting.stop.set()
        assert acked.result(30) == []
    assert setting.plain.requests["ack"] == 2


@pytest.mark.parametrize("operation", OPERATIONS)
def test_after_a_stop_nothing_is_repeated(setting: Setting, operation: str) -> None:
    setting.stop.set()
    setting.stored.refuse(operation, math.inf, AWAY)
    with pytest.raises(QueueUnavailableError):
        perform(operation, setting.queue(), take_side(setting))
    assert setting.plain.requests[operation] == 1


def test_what_works_at_once_works_after_a_stop_as_well(setting: Setting) -> None:
    setting.stop.set()
    queue = setting.queue()
    held = queue.receive(3, wait=0, lease=30)
    assert len(held) == 3
    assert queue.ack(held) == []


def test_a_third_of_all_requests_may_fail_and_every_message_is_handled_once(
    setting: Setting,
) -> None:
    chance = random.Random(7)

    def trouble(name: str, operation: str) -> QueueError | None:
        return AWAY if chance.random() < 0.3 else None

    setting.server.trouble = trouble
    queue = setting.queue()
    assert queue.send(outgoing([f"{n}" for n in range(3, 200)])) == []
    seen: list[int] = []
    while len(seen) < 200:
        held = queue.receive(7, wait=0, lease=30)
        seen += [int(message.body) for message in held]
        assert queue.extend(held, 30) == []
        assert queue.ack(held) == []
    assert sorted(seen) == list(range(200))
    assert setting.stored.split() == (0, 0)


def test_everything_else_is_what_the_queue_says(setting: Setting) -> None:
    queue = setting.queue()
    assert (queue.name, str(queue), queue.limits) == ("jobs", "queue 'jobs'", setting.plain.limits)
    queue.check()
    assert queue.requests["check"] == 1
    queue.close()
    queue.close()
    assert setting.plain.closed


class FailingAt:
    """Has the request of that number fail."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._requests = 0

    def __call__(self, name: str, operation: str) -> QueueError | None:
        self._requests += 1
        return AWAY if self._requests == self._number else None


def take_side(setting: Setting) -> MessageQueue:
    """The same queue through a handle whose requests nobody counts."""
    return FakeProvider(setting.server).queue("jobs")
