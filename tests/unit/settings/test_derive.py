"""Values that depend on others, and the choice of the executor."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from cloud_tasks.settings.resolve import Resolved, resolve
from cloud_tasks.system.cores import usable_within_limits

EXECUTOR = "RMS_CLOUD_TASKS_EXECUTOR"
USE_NEW_PROCESS = "RMS_CLOUD_WORKER_USE_NEW_PROCESS"


def run(
    argv: str = "",
    environ: dict[str, str] | None = None,
    defaults: dict[str, Any] | None = None,
    *,
    has_task_source: bool = True,
    **kwargs: Any,
) -> Resolved:
    parser = argparse.ArgumentParser()
    parser.set_defaults(**(defaults or {}))
    return resolve(parser, argv.split(), environ or {}, has_task_source=has_task_source, **kwargs)


class Custom:
    """Stands for an executor object; the settings never look into it."""


@pytest.mark.parametrize(
    ("argv", "environ", "keyword", "chosen"),
    [
        ("", {}, None, ("loky", "default")),
        ("", {}, "spawn", ("spawn", "program")),
        ("", {EXECUTOR: "inline"}, "spawn", ("inline", "environment")),
        ("", {USE_NEW_PROCESS: "1"}, "loky", ("spawn", "environment")),
        ("", {USE_NEW_PROCESS: "0"}, "inline", ("inline", "program")),
        ("--executor loky", {EXECUTOR: "inline"}, "spawn", ("loky", "command line")),
        ("--debug", {EXECUTOR: "spawn"}, "loky", ("inline", "command line")),
        ("--use-new-process", {}, None, ("spawn", "command line")),
        ("--debug --executor inline", {}, None, ("inline", "command line")),
        ("--no-use-new-process", {USE_NEW_PROCESS: "1"}, None, ("loky", "default")),
        ("--executor loky", {USE_NEW_PROCESS: "1"}, None, ("loky", "command line")),
        ("", {EXECUTOR: "spawn", USE_NEW_PROCESS: "1"}, None, ("spawn", "environment")),
        ("--executor third-party", {}, None, ("third-party", "command line")),
    ],
)
def test_the_nearest_choice_of_an_executor_holds(
    argv: str, environ: dict[str, str], keyword: str | None, chosen: tuple[str, str]
) -> None:
    resolved = run(argv, environ, executor=keyword)
    assert (resolved.settings.executor, resolved.origins["executor"]) == chosen
    assert resolved.args.executor == chosen[0]


@pytest.mark.parametrize(
    ("defaults", "keyword", "chosen"),
    [
        ({"executor": "spawn"}, None, "spawn"),
        ({"debug": True}, None, "inline"),
        ({"debug": True}, "spawn", "spawn"),
    ],
)
def test_the_keyword_beats_the_defaults_of_the_parser(
    defaults: dict[str, Any], keyword: str | None, chosen: str
) -> None:
    resolved = run(defaults=defaults, executor=keyword)
    assert (resolved.settings.executor, resolved.origins["executor"]) == (chosen, "program")


def test_a_spelling_that_was_overruled_is_not_left_standing() -> None:
    resolved = run("--executor loky", {USE_NEW_PROCESS: "1"}, {"debug": True})
    assert not resolved.settings.debug
    assert not resolved.args.use_new_process
    assert resolved.origins["debug"] == "derived"


@pytest.mark.parametrize(
    ("argv", "environ", "said"),
    [
        ("--debug --use-new-process", {}, "--debug and --use-new-process choose"),
        ("--executor loky --debug", {}, "--executor and --debug choose"),
        ("--executor inline --use-new-process", {}, "(inline, spawn)"),
        ("", {EXECUTOR: "loky", USE_NEW_PROCESS: "yes"}, f"{EXECUTOR} and {USE_NEW_PROCESS}"),
    ],
)
def test_two_different_choices_in_one_place_are_an_error(
    argv: str, environ: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(argv, environ)
    assert said in capsys.readouterr().err


def test_different_choices_in_the_environment_dont_matter_once_overruled() -> None:
    resolved = run("--executor inline", {EXECUTOR: "loky", USE_NEW_PROCESS: "1"})
    assert resolved.settings.executor == "inline"


@pytest.mark.parametrize("environ", [{EXECUTOR: "spawn"}, {USE_NEW_PROCESS: "1"}, {}])
def test_an_executor_object_beats_the_environment(environ: dict[str, str]) -> None:
    resolved = run(environ=environ, executor=Custom())
    assert (resolved.settings.executor, resolved.origins["executor"]) == ("Custom", "program")
    assert not resolved.settings.use_new_process


@pytest.mark.parametrize("argv", ["--executor loky", "--debug", "--use-new-process"])
def test_an_executor_object_cant_be_overruled_on_the_command_line(
    argv: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(argv, executor=Custom())
    error = capsys.readouterr().err
    assert f"{argv.split()[0]}: the program brings an executor of its own (Custom)" in error


def test_one_task_runs_at_a_time_unless_cpus_are_told() -> None:
    resolved = run()
    assert resolved.settings.num_simultaneous_tasks == 1
    assert resolved.origins["num_simultaneous_tasks"] == "default"


def test_as_many_tasks_run_as_cpus_are_told() -> None:
    resolved = run("--num-cpus 6")
    assert resolved.settings.num_simultaneous_tasks == 6
    assert resolved.origins["num_simultaneous_tasks"] == "derived"


def test_the_number_of_tasks_beats_the_number_of_cpus() -> None:
    assert run("--num-cpus 6 --num-simultaneous-tasks 2").settings.num_simultaneous_tasks == 2


def test_auto_runs_as_many_tasks_as_there_are_usable_within_limits() -> None:
    resolved = run("--num-simultaneous-tasks auto --num-cpus 1000")
    assert resolved.settings.num_simultaneous_tasks == usable_within_limits() >= 1
    assert resolved.args.num_simultaneous_tasks == usable_within_limits()
    assert resolved.origins["num_simultaneous_tasks"] == "command line"


def test_a_simulated_end_without_a_notice_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--simulate-spot-termination-delay 3")
    assert "needs --simulate-spot-termination-after" in capsys.readouterr().err


def test_a_simulated_notice_without_an_end_is_a_warning() -> None:
    (warning,) = run("--simulate-spot-termination-after 3").warnings
    assert "tasks will not be killed" in warning
    both = run("--simulate-spot-termination-after 3 --simulate-spot-termination-delay 0")
    assert both.warnings == ()
