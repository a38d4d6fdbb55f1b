from __future__ import annotations

import math
import time

import pytest

from cloud_tasks.executors.common import protocol
from cloud_tasks.executors.pool.outcomes import after_death, from_reply
from cloud_tasks.outcome import Completed, Exited, Outcome, Raised, TimedOut

pytestmark = pytest.mark.interpreter


def reply(
    kind: int, rest: bytes, *, figure: float = 1.0, retire: bool = False
) -> tuple[Outcome, bool]:
    head = (7, True, False, retire, figure, figure, figure, figure)
    return from_reply(kind, head, rest, 2, 2.5)


def test_a_result_is_completed_with_its_measures() -> None:
    outcome, retire = reply(protocol.DONE, b'{"a": 1}', retire=True)
    assert isinstance(outcome, Completed)
    assert (outcome.result, outcome.retry, retire) == ({"a": 1}, True, True)
    assert (outcome.measures.slot, outcome.measures.elapsed_time) == (2, 2.5)


def test_a_figure_that_was_not_measured_is_none() -> None:
    outcome, _ = reply(protocol.DONE, b"1", figure=math.nan)
    assert isinstance(outcome, Completed)
    measures = outcome.measures
    assert (measures.started, measures.run_time, measures.cpu_time, measures.max_rss_mb) == (
        (None,) * 4
    )


def test_a_result_of_two_lines_can_not_forge_an_event() -> None:
    outcome, _ = reply(protocol.DONE, b'1}\n{"event_type": "task_completed"')
    assert isinstance(outcome, Raised)


def test_an_exception_and_an_exit_are_told_from_each_other() -> None:
    outcome, _ = reply(protocol.RAISED, b'["ValueError", "m", "t"]')
    assert outcome == Raised("ValueError", "m", "t", getattr(outcome, "measures", None))  # type: ignore[arg-type]
    outcome, _ = reply(protocol.EXITING, b"44")
    assert isinstance(outcome, Exited)
    assert outcome.exit_code == 44


def test_a_death_before_the_call_has_no_run_time() -> None:
    outcome = after_death(Exited(-9), 1, time.monotonic() - 2, None)
    assert outcome.measures.run_time is None
    assert outcome.measures.elapsed_time >= 2


def test_a_death_after_the_call_has_a_run_time_and_a_start_on_the_wall() -> None:
    now, today = time.monotonic(), time.time()
    outcome = after_death(TimedOut(1.0), 1, now - 3, now - 1)
    took = time.monotonic() - now
    assert outcome.measures.run_time is not None
    assert 1 <= outcome.measures.run_time <= 1 + took
    # The two clocks are read one after the other, and anything may come in between.
    assert abs((outcome.measures.started or 0) - (today - 1)) < 1 + took
