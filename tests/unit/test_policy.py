from __future__ import annotations

import itertools

import pytest

from cloud_tasks.outcome import (
    Aborted,
    Completed,
    Exited,
    Outcome,
    OverMemory,
    Raised,
    TimedOut,
)
from cloud_tasks.policy import FailureLimit, RetryRules, Settlement, decide, retry_delay
from cloud_tasks.task import Delivery, Task

DELIVERY = Delivery(Task("a", {}))
ALL = RetryRules(True, True, True, True, max_attempts=3)
RULES = [RetryRules(*bits) for bits in itertools.product((False, True), repeat=4)]
#: The outcome, the rule that makes it retry (None: none does), and whether it is done.
OUTCOMES: list[tuple[Outcome, str | bool, bool]] = [
    (Completed(False, b"1"), False, True),
    (Completed(True, b"1"), True, False),
    (Raised("ValueError", "no", "trace"), "on_exception", False),
    (Raised("MemoryError", "", "trace"), False, False),
    (TimedOut(3.0), "on_timeout", False),
    (Exited(0), "on_exit", False),
    (Exited(-9, "out of memory"), "on_exit", False),
    (Exited(None), "on_exit", False),
    (OverMemory(1, 2), False, False),
    (Aborted("we did"), True, False),
]


@pytest.mark.parametrize(("outcome", "retried_if", "done"), OUTCOMES, ids=str)
def test_every_outcome_is_decided_by_its_own_rule_only(
    outcome: Outcome, retried_if: str | bool, done: bool
) -> None:
    for rules in RULES:
        decision = decide(outcome, DELIVERY, rules)
        expected = getattr(rules, retried_if) if isinstance(retried_if, str) else retried_if
        assert decision.retry is expected
        assert decision.succeeded is done
        released = expected and rules.requeues
        assert decision.settlement is (Settlement.RELEASE if released else Settlement.ACK)


def test_where_nothing_is_requeued_the_wish_for_a_retry_is_told_all_the_same() -> None:
    decision = decide(TimedOut(1.0), DELIVERY, RetryRules(on_timeout=True, requeues=False))
    assert decision.retry
    assert decision.settlement is Settlement.ACK


def test_memory_that_ran_out_is_never_asked_for_again() -> None:
    all_on = RetryRules(True, True, True, True)
    for outcome in (Raised("MemoryError", "", ""), OverMemory(1, 2)):
        assert not decide(outcome, DELIVERY, all_on).retry


def test_the_first_retry_comes_at_once_and_later_ones_after_longer_and_longer() -> None:
    assert [retry_delay(attempt) for attempt in range(1, 6)] == [0.0, 2.0, 4.0, 8.0, 16.0]
    assert {retry_delay(attempt) for attempt in (10, 1000, 10**9)} == {300.0}


def test_where_nobody_counts_a_retry_never_comes_at_once() -> None:
    assert retry_delay(None) == 30.0


def test_a_task_that_fails_at_its_last_attempt_is_given_up() -> None:
    for attempt, expected in (
        (2, Settlement.RELEASE),
        (3, Settlement.DEAD_LETTER),
        (9, Settlement.DEAD_LETTER),
    ):
        decision = decide(TimedOut(1.0), Delivery(Task("a", {}), None, attempt), ALL)
        assert decision.settlement is expected
        assert decision.retry is (expected is Settlement.RELEASE)
        assert decision.delay == (2.0 if attempt == 2 else 0.0)


def test_an_end_of_ours_is_never_counted_against_the_task() -> None:
    decision = decide(Aborted("we did"), Delivery(Task("a", {}), None, 99), ALL)
    assert (decision.settlement, decision.delay) == (Settlement.RELEASE, 0.0)


def test_a_failure_that_is_not_to_be_retried_is_acknowledged_at_any_attempt() -> None:
    rules = RetryRules(requeues=True, max_attempts=3)
    decision = decide(TimedOut(1.0), Delivery(Task("a", {}), None, 99), rules)
    assert decision.settlement is Settlement.ACK


def test_without_a_limit_or_a_count_tasks_are_retried_for_ever() -> None:
    for attempt, most in ((99, 0), (None, 3)):
        rules = RetryRules(on_timeout=True, requeues=True, max_attempts=most)
        decision = decide(TimedOut(1.0), Delivery(Task("a", {}), None, attempt), rules)
        assert decision.settlement is Settlement.RELEASE


def test_a_number_of_failures_is_reached_by_the_last_of_them() -> None:
    limit = FailureLimit(count=3)
    assert [limit.is_reached(n, 10, 100) for n in (2, 3, 4)] == [False, True, True]


def test_a_share_of_failures_is_of_all_tasks_where_they_are_known() -> None:
    limit = FailureLimit(percent=2.0)
    assert not limit.is_reached(failed=20, ended=20, total=1000)
    assert limit.is_reached(failed=21, ended=500, total=1000)


def test_a_share_of_failures_is_of_what_ended_where_nobody_knows_the_end() -> None:
    limit = FailureLimit(percent=10.0)
    assert not limit.is_reached(failed=10, ended=10, total=None)
    assert limit.is_reached(failed=11, ended=11, total=None)
    assert not limit.is_reached(failed=20, ended=200, total=None)
    assert limit.is_reached(failed=21, ended=200, total=None)
