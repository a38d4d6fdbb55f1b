from __future__ import annotations

import queue
import re
import time

import pytest

from cloud_tasks.clock import Clock, next_of
from cloud_tasks.timestamps import timestamp

pytestmark = pytest.mark.interpreter


def test_a_timestamp_has_microseconds_and_says_utc() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000000+00:00"
    assert timestamp(1_700_000_000.5) == "2023-11-14T22:13:20.500000+00:00"


def test_now_is_of_that_form_too() -> None:
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"
    assert re.fullmatch(pattern, timestamp(Clock().wall()))


def test_the_two_clocks_are_the_machines() -> None:
    clock = Clock()
    before = time.monotonic(), time.time()
    here = clock.monotonic(), clock.wall()
    after = time.monotonic(), time.time()
    assert before[0] <= here[0] <= after[0]
    assert before[1] <= here[1] <= after[1]


def test_what_is_in_an_inbox_comes_at_once_and_what_is_not_never() -> None:
    inbox: queue.SimpleQueue[int] = queue.SimpleQueue()
    for timeout in (None, 0.01, 0.0, -1.0):
        inbox.put(1)
        assert next_of(inbox, timeout) == 1
    for timeout in (0.01, 0.0, -1.0):
        with pytest.raises(queue.Empty):
            next_of(inbox, timeout)


def test_no_look_into_an_inbox_that_was_emptied_waits_for_ever() -> None:
    for _ in range(20_000):
        inbox: queue.SimpleQueue[int] = queue.SimpleQueue()
        inbox.put(1)
        next_of(inbox, None)
        with pytest.raises(queue.Empty):
            next_of(inbox, 0.0)
