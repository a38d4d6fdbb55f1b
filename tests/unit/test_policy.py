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
from cloud_tasks.policy import RetryRules, Settlement, decide
from cloud_tasks.task import Delivery, Task

DELIVERY = Delivery(Task("a", {}))
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
