"""From the arguments of a Worker to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.executors.inline import InlineExecutor
from cloud_tasks.worker.build import Plan, build, make_plan
from cloud_tasks.worker_data import WorkerData


def process(task_id: str, task_data: dict[str, Any], worker_data: WorkerData) -> Any:
    return False, None


def plan(*args: str, executor: Any = None, task_source: Any = list) -> Plan:
    return make_plan(process, executor=executor, task_source=task_source, args=args, argparser=None)


def test_nothing_is_opened_before_the_run(tmp_path: Path) -> None:
    made = plan("--run-dir", str(tmp_path / "run"), "--task-logs")
    build(made, WorkerData())
    assert list(tmp_path.iterdir()) == []


def test_the_executor_is_that_of_the_settings() -> None:
    _, executor, _ = build(plan("--debug"), WorkerData())
    assert isinstance(executor, InlineExecutor)


def test_the_programs_own_executor_is_used_as_it_is() -> None:
    mine = InlineExecutor()
    _, executor, _ = build(plan(executor=mine), WorkerData())
    assert executor is mine


def test_an_object_that_is_no_executor_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="executor is an object of type dict"):
        build(plan(executor={}), WorkerData())


def test_an_unknown_executor_of_the_command_line_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        plan("--executor", "nope")
    assert "unknown executor 'nope'" in capsys.readouterr().err


def test_a_runtime_that_a_provider_cannot_hold_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        plan("--provider=AWS", "--job-id=j", "--max-runtime=50000", task_source=None)
    assert "must be 43000 or less" in capsys.readouterr().err
