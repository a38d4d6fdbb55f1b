from __future__ import annotations

import dataclasses

import pytest

from cloud_tasks.outcome import NOT_MEASURED, Completed, Measures, TimedOut


def test_a_result_is_parsed_when_it_is_asked_for() -> None:
    assert Completed(False, b'{"a": [1, 2.5, null]}').result == {"a": [1, 2.5, None]}


def test_each_access_gives_a_result_of_its_own() -> None:
    outcome = Completed(False, b"[]")
    outcome.result.append(1)
    assert outcome.result == []


def test_outcomes_are_values() -> None:
    assert TimedOut(1.0) == TimedOut(1.0)
    assert TimedOut(1.0, Measures(slot=1)) != TimedOut(1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TimedOut(1.0).max_runtime = 2  # type: ignore[misc]


def test_what_was_not_measured_is_none_not_zero() -> None:
    assert NOT_MEASURED.run_time is NOT_MEASURED.cpu_time is NOT_MEASURED.max_rss_mb is None
