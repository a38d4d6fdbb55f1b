from __future__ import annotations

import shlex

import pytest

from cloud_tasks.history.commands import RerunCommand


def command(line: str) -> RerunCommand:
    argv = shlex.split(line)
    return RerunCommand(None, argv)


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("/usr/bin/python3 my.py --task-file t.json", "python3 my.py --task-file t.json --resume"),
        ("python my.py --resume", "python my.py --resume"),
        ("python my.py --resume=failed", "python my.py --resume=failed"),
        ("python -m my.program", "python -m my.program --resume"),
        ("python /opt/bin/cloud_tasks worker m:f", "cloud_tasks worker m:f --resume"),
        ("python my.py --task-file 'my tasks'", "python my.py --task-file 'my tasks' --resume"),
        ("python my.py -v -- a.fits", "python my.py -v --resume -- a.fits"),
        ("python my.py -v -- --resume", "python my.py -v --resume -- --resume"),
    ],
)
def test_a_run_goes_on_by_the_same_command(said: str, again: str) -> None:
    assert command(said).resumed() == again


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("python my.py --task-file t", "python my.py --task-file t --task-id x --debug"),
        ("python my.py --resume --tasks t", "python my.py --tasks t --task-id x --debug"),
        ("python my.py --resume failed -v", "python my.py -v --task-id x --debug"),
        ("python my.py --resume=failed", "python my.py --task-id x --debug"),
        ("python my.py --task-id a --task-id=b", "python my.py --task-id x --debug"),
        ("python my.py --max-num-tasks 3 --tasks-to-skip=4", "python my.py --task-id x --debug"),
        ("python my.py --debug", "python my.py --debug --task-id x"),
        ("python my.py -v -- a.fits", "python my.py -v --task-id x --debug -- a.fits"),
    ],
)
def test_a_task_runs_alone_by_the_same_command_with_another_choice(said: str, again: str) -> None:
    assert command(said).for_task("x", "--debug") == again


@pytest.mark.parametrize(
    ("task_id", "words"),
    [("a b", "--task-id 'a b'"), ("-x", "--task-id=-x"), ("$(rm)", "--task-id '$(rm)'")],
)
def test_any_task_id_can_be_pasted_into_a_shell(task_id: str, words: str) -> None:
    assert command("python my.py").for_task(task_id) == f"python my.py {words}"


def test_a_command_line_that_the_program_made_up_is_not_suggested() -> None:
    made_up = RerunCommand(
        ["--task-file", "t"], ["python", "my.py", "my-own-flag"], ["my-own-flag"]
    )
    assert made_up.resumed() is None
    assert made_up.for_task("x") is None


def test_a_program_that_passes_its_command_line_on_is_known() -> None:
    for given in (["--tasks", "t"], []):
        assert RerunCommand(given, ["python", "my.py", *given], given).is_known
    assert RerunCommand(["-v"], ["cloud_tasks", "worker", "-v"], ["worker", "-v"]).is_known
    assert not RerunCommand([], ["python", "my.py", "-v"], ["-v"]).is_known
