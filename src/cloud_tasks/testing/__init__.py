"""What tests of this package, and of adapters for it, are made with. Needs pytest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

# Otherwise a suite of ours that fails in somebody's tests says AssertionError and nothing more.
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
    """Wait until *condition* returns something true, and return it.

    Args:
        condition: looked at every few milliseconds.
        timeout: seconds.
        what: was waited for, in words, for the failure's text.

    Raises:
        AssertionError: it never came true.
    """
    deadline = time.monotonic() + timeout
    while True:
        # The last look comes after the deadline: a machine that was busy elsewhere meanwhile has
        # not shown that the condition fails.
        last = time.monotonic() > deadline
        value = condition()
        if value:
            return value
        if last:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}; got {value!r}")
        time.sleep(0.005)
