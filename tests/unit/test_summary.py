from __future__ import annotations

import json

import pytest

from cloud_tasks.summary import Cause, RunSummary, StopReason


@pytest.mark.parametrize(
    ("reason", "trouble", "not_done", "code"),
    [
        (StopReason.DONE, None, 0, 0),
        (StopReason.MAX_NUM_TASKS, None, 0, 0),
        (StopReason.REQUESTED, None, 0, 0),
        (StopReason.DONE, None, 3, 1),
        (StopReason.REQUESTED, None, 3, 1),
        (StopReason.DONE, "bad entries", 0, 4),
        (StopReason.FAILED, "no disk", 3, 4),
        (StopReason.SPOT, None, 0, 75),
        (StopReason.SPOT, "no disk", 3, 75),
        (StopReason.SIGINT, None, 0, 130),
        (StopReason.SIGINT, "no disk", 3, 130),
        (StopReason.SIGTERM, None, 3, 143),
    ],
)
def test_the_exit_code_that_ranks_highest_wins(
    reason: StopReason, trouble: str | None, not_done: int, code: int
) -> None:
    assert RunSummary(stop_reason=reason, trouble=trouble, not_done=not_done).exit_code == code


def test_tasks_that_failed_in_an_earlier_run_leave_the_job_not_done() -> None:
    assert RunSummary(completed=5, finished_before=7).exit_code == 0
    assert RunSummary(completed=5, failed_before=1).exit_code == 1


def test_it_can_be_written_as_json() -> None:
    summary = RunSummary(
        stop_reason=StopReason.SPOT,
        completed=2,
        aborted=1,
        run_time={"p50": 1.0},
        causes=(Cause("aborted: x", 1, "t3"),),
    )
    told = json.loads(json.dumps(summary.to_dict()))
    assert told["stop_reason"] == "spot_termination"
    assert told["causes"] == [{"text": "aborted: x", "count": 1, "example": "t3"}]
    assert (told["ended"], told["failed"], told["exit_code"]) == (3, 0, 75)
