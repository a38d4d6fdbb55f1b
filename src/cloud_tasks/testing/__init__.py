"""Test suites and fakes for executors, queues and sources, ours and others'. Needs pytest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

# Otherwise a failing suite of ours, run in another project, shows a bare AssertionError.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "executor_contract",
            "executor_harness",
            "queue_contract",
            "queue_harness",
            "queue_requests",
            "source_contract",
        )
    )
)

T = TypeVar("T")


def eventually(condition: Callable[[], T | None], timeout: float = 30.0, *, what: str = "") -> T:
    """Wait until *condition* returns a true value, and return it.

    Args:
        condition: called every few milliseconds.
        timeout: seconds.
        what: the condition in words, for the text of the failure.

    Raises:
        AssertionError: it was not true within *timeout*.
    """
    deadline = time.monotonic() + timeout
    while True:
        # The last call comes after the deadline, because a pause of a busy machine before it does
        # not prove that the condition fails.
        last = time.monotonic() > deadline
        value = condition()
        if value:
            return value
        if last:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}; got {value!r}")
        time.sleep(0.005)
