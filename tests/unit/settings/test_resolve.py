"""Where values come from, and what a wrong one looks like."""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.settings import parse
from cloud_tasks.settings.resolve import Resolved, reject, resolve
from cloud_tasks.settings.row import Row
from cloud_tasks.settings.table import ROWS, Settings

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def samples(row: Row) -> list[str]:
    """Three texts that *row* takes, the first one not its default."""
    if row.is_boolean:
        return ["true", "false", "true"]
    known = ["7", "8", "9", "AWS", "gcp", "Azure", "json", "yaml", "csv", "on", "off", "auto"]
    taken = [text for text in [*known, "finished", "failed", "finished"] if _takes(row, text)]
    return taken[:3]


def _takes(row: Row, text: str) -> bool:
    try:
        row.parse(text)
    except ValueError:
        return False
    return True


def on_command_line(row: Row, text: str) -> list[str]:
    if not row.is_boolean:
        return [row.flag, text]
    return [row.flag if text == "true" else f"--no-{row.flag[2:]}"]


def found(
    row: Row, *, flag: str | None = None, env: str | None = None, program: Any = None
) -> tuple[Any, str]:
    """Resolve *row*, which is given in up to three places; return value and origin."""
    parser = argparse.ArgumentParser()
    if program is not None:
        parser.set_defaults(**{row.name: program})
    # What other settings need, said on the command line so that nothing is missing.
    argv = [] if row.name == "task_file" else ["--task-file", "t.json"]
    if row.name == "simulate_spot_termination_delay":
        argv += ["--simulate-spot-termination-after", "1"]
    if row.name == "event_log_to_queue":
        argv += ["--provider", "aws", "--job-id", "j"]
    if flag is not None:
        argv += on_command_line(row, flag)
    environ = {row.env: env} if row.env and env is not None else {}
    resolved = resolve(parser, argv, environ, has_task_source=row.name == "task_file")
    value = getattr(resolved.settings, row.name)
    assert getattr(resolved.args, row.name) is value
    return value, resolved.origins[row.name]


def error_of(capsys: pytest.CaptureFixture[str], **kwargs: Any) -> str:
    """Resolve what is wrong; return the line that says so."""
    kwargs.setdefault("argv", ["--task-file", "t.json"])
    kwargs.setdefault("environ", {})
    parser = kwargs.pop("parser", None) or argparse.ArgumentParser(prog="prog")
    with pytest.raises(SystemExit) as exit_:
        resolve(parser, **kwargs)
    assert exit_.value.code == 2
    usage, _, line = capsys.readouterr().err.partition("prog: error: ")
    assert usage.startswith("usage: prog")
    assert line.endswith("\n")
    assert "\n" not in line[:-1]
    return line[:-1]


def simple(*argv: str, **environ: str) -> Resolved:
    return resolve(argparse.ArgumentParser(), ["--task-file", "t.json", *argv], environ)


@every_row
def test_flag_variable_and_program_give_the_same_value(row: Row) -> None:
    text = samples(row)[0]
    value, origin = found(row, flag=text)
    assert (value, origin) == (row.parse(text), "command line")
    assert found(row, program=text) == (value, "program")
    assert found(row, program=value) == (value, "program")
    if row.env:
        assert found(row, env=text) == (value, "environment")


@every_row
def test_the_nearest_of_flag_variable_and_program_holds(row: Row) -> None:
    first, second, third = samples(row)
    for flag, env, program in product((first, None), (second, None), (third, None)):
        if env is not None and row.env is None:
            continue
        given = [
            (text, origin)
            for text, origin in (
                (flag, "command line"),
                (env, "environment"),
                (program, "program"),
            )
            if text is not None
        ]
        value, origin = found(row, flag=flag, env=env, program=program)
        if given:
            assert (value, origin) == (row.parse(given[0][0]), given[0][1])
        else:
            assert origin in ("default", "derived")


@every_row
@pytest.mark.parametrize("text", ["", "None"])
def test_a_variable_that_is_empty_or_none_is_unset(row: Row, text: str) -> None:
    if row.env:
        assert found(row, env=text) == found(row)


@every_row
def test_none_in_other_letters_is_a_text_like_any_other(row: Row) -> None:
    if row.env and row.parse is parse.text:
        assert found(row, env="none") == ("none", "environment")


def test_none_is_unset_where_a_value_follows_from_another() -> None:
    environ = {row.env: "None" for row in ROWS.values() if row.env}
    resolved = resolve(argparse.ArgumentParser(), ["--task-file", "x.json"], environ)
    plain = resolve(argparse.ArgumentParser(), ["--task-file", "x.json"], {})
    assert (resolved.settings, resolved.origins) == (plain.settings, plain.origins)


def test_every_default_holds_when_nobody_says_anything() -> None:
    resolved = resolve(argparse.ArgumentParser(), [], {}, require_tasks=False)
    # Those two are derived: from where tasks come, and from the longest run time.
    assert resolved.settings == Settings(event_log_to_queue=True, lease=120.0)
    assert resolved.warnings == ()


@every_row
def test_no_flag_beats_a_variable_that_says_yes(row: Row) -> None:
    if row.is_boolean and row.env:
        assert found(row, flag="false", env="1") == (False, "command line")


def test_the_old_spelling_tasks_goes_on_working() -> None:
    resolved = resolve(argparse.ArgumentParser(), ["--tasks", "t.json"], {})
    assert resolved.settings.task_file == resolved.args.task_file == "t.json"


def test_standard_input_is_a_task_file() -> None:
    assert resolve(argparse.ArgumentParser(), ["--task-file", "-"], {}).settings.task_file == "-"


def test_final_values_and_the_programs_own_are_in_one_namespace() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--volumes", action="append", default=None)
    resolved = resolve(
        parser, ["a", "b", "--volumes", "x", "--tasks", "t"], {ROWS["num_cpus"].env or "": "4"}
    )
    args = resolved.args
    assert (args.inputs, args.volumes) == (["a", "b"], ["x"])
    assert (args.num_simultaneous_tasks, args.max_runtime, args.job_id) == (4, 600.0, None)
    assert ROWS.keys() <= vars(args).keys()


def test_a_program_may_give_its_defaults_typed_or_as_paths() -> None:
    parser = argparse.ArgumentParser()
    parser.set_defaults(task_file=Path("t.json"), max_runtime=5, job_id=None, project_id="")
    resolved = resolve(parser, [], {})
    assert resolved.settings.task_file == "t.json"
    assert resolved.settings.max_runtime == 5.0
    assert resolved.origins["job_id"] == resolved.origins["project_id"] == "default"


def test_the_command_line_and_environment_of_the_process_are_taken_if_none_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["prog", "--task-file", "t.json"])
    monkeypatch.setenv("RMS_CLOUD_TASKS_JOB_ID", "j7")
    settings = resolve(argparse.ArgumentParser()).settings
    assert (settings.task_file, settings.job_id) == ("t.json", "j7")


@pytest.mark.parametrize("name", ["aws", "AWS", "Aws"])
def test_the_provider_is_stored_in_capitals(name: str) -> None:
    assert simple("--provider", name).settings.provider == "AWS"


@pytest.mark.parametrize("place", ["flag", "variable", "program"])
def test_a_wrong_value_gives_the_same_sentence_wherever_it_stands(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser(prog="prog")
    argv = ["--task-file", "t.json"]
    environ = {}
    if place == "flag":
        argv += ["--max-runtime", "abc"]
    elif place == "variable":
        environ["RMS_CLOUD_TASKS_MAX_RUNTIME"] = "abc"
    else:
        parser.set_defaults(max_runtime="abc")
    assert error_of(capsys, parser=parser, argv=argv, environ=environ) == (
        "argument --max-runtime (RMS_CLOUD_TASKS_MAX_RUNTIME): 'abc' is not a number of seconds"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max_runtime", "0"),
        ("max_runtime", "nan"),
        ("max_runtime", "inf"),
        ("max_runtime", "-1"),
        ("shutdown_grace_period", "-1"),
        ("num_simultaneous_tasks", "0"),
        ("num_simultaneous_tasks", "-1"),
        ("num_cpus", "0"),
        ("tasks_to_skip", "-1"),
        ("max_num_tasks", "1.5"),
        ("max_memory_allowed_per_task", "0"),
        ("max_memory_allowed_per_task", "nan"),
        ("max_memory_allowed_per_task", "inf"),
        ("max_result_size", "-1"),
        ("provider", "ibm"),
        ("keepalive_interval", "-1"),
        ("max_attempts", "-1"),
        ("lease", "0"),
        ("exit_when_idle", "0"),
        ("exactly_once_queue", "maybe"),
        ("task_format", "xml"),
        ("retry_on_exit", "maybe"),
        ("use_new_process", "ja"),
        ("price_per_hour", "free"),
    ],
)
def test_wrong_values_are_errors_that_name_flag_and_variable(
    name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = ROWS[name]
    line = error_of(capsys, environ={row.env: text})
    assert line.startswith(f"argument {row.flag} ({row.env}): ")
    assert repr(text) in line
    if not row.is_boolean:
        assert error_of(capsys, argv=["--tasks", "t", f"{row.flag}={text}"]) == line


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--shutdown-grace-period", "0"], "shutdown_grace_period", 0.0),
        (["--max-result-size", "0"], "max_result_size", 0.0),
        (["--tasks-to-skip", "0"], "tasks_to_skip", 0),
        (["--keepalive-interval", "0"], "keepalive_interval", 0.0),
        (["--max-attempts", "0"], "max_attempts", 0),
        (["--lease", "0.5"], "lease", 0.5),
        (["--max-runtime", "0.5"], "max_runtime", 0.5),
        (["--max-memory-allowed-per-task", "0.25"], "max_memory_allowed_per_task", 0.25),
    ],
)
def test_values_at_the_border_are_taken(argv: list[str], name: str, value: object) -> None:
    assert getattr(simple(*argv).settings, name) == value


def test_all_problems_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(
        capsys,
        argv=["--max-runtime", "0", "--debug", "--use-new-process"],
        environ={"RMS_CLOUD_TASKS_RETRY_ON_EXIT": "maybe"},
    )
    for part in ("--max-runtime", "--retry-on-exit", "different executors", "--task-file"):
        assert part in line


def test_an_empty_text_on_the_command_line_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(capsys, argv=["--task-file", ""])
    assert line == "argument --task-file (RMS_CLOUD_TASKS_TASK_FILE): must not be empty"


def test_an_unknown_flag_is_an_error_of_argparse(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unrecognized arguments: --nonsense" in error_of(capsys, argv=["--nonsense"])


def test_help_is_given_even_if_settings_are_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        resolve(argparse.ArgumentParser(), ["--help"], {"RMS_CLOUD_TASKS_MAX_RUNTIME": "abc"})
    assert exit_.value.code == 0
    assert "--max-runtime SECONDS" in capsys.readouterr().out


def test_a_refused_value_is_an_error_of_whoever_gave_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser(prog="prog")
    with pytest.raises(SystemExit):
        reject(parser, {"executor": "environment"}, "executor", "unknown executor 'x'")
    expected = "argument --executor (RMS_CLOUD_TASKS_EXECUTOR): unknown executor 'x'"
    assert expected in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match=r"^unknown executor 'x'$"):
        reject(parser, {"executor": "program"}, "executor", "unknown executor 'x'")


def test_task_ids_are_given_one_by_one() -> None:
    assert simple("--task-id", "a", "--task-id", "b,c").settings.task_id == ("a", "b,c")


def test_resume_needs_no_value() -> None:
    assert simple("--resume").settings.resume == "finished"
    assert simple("--resume", "--verbose").settings.resume == "finished"
    assert simple("--resume", "failed").settings.resume == "failed"


@pytest.mark.parametrize(("text", "shown"), [("12", "12"), ("2.5%", "2.5%"), (" 3 % ", "3%")])
def test_a_failure_limit_is_a_number_or_a_share(text: str, shown: str) -> None:
    assert str(simple("--max-failures", text).settings.max_failures) == shown


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "0%", "101%", "many", "%"])
def test_no_other_failure_limit_is_taken(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(capsys, argv=["--task-file", "t.json", f"--max-failures={text}"])
    assert "--max-failures (RMS_CLOUD_TASKS_MAX_FAILURES)" in line


def test_a_run_directory_holds_the_event_log() -> None:
    resolved = simple("--run-dir", "run")
    assert resolved.settings.event_log_file == str(Path("run", "events.jsonl"))
    assert resolved.origins["event_log_file"] == "derived"


def test_an_event_log_that_was_asked_for_stays_where_it_is() -> None:
    resolved = simple("--run-dir", "run", "--event-log-file", "mine.log")
    assert resolved.settings.event_log_file == "mine.log"


def test_a_run_directory_has_events_also_of_tasks_from_a_queue() -> None:
    resolved = resolve(
        argparse.ArgumentParser(),
        ["--provider", "aws", "--job-id", "j", "--run-dir", "run"],
        {},
    )
    assert resolved.settings.event_log_to_file
    assert resolved.settings.event_log_to_queue


@pytest.mark.parametrize("flag", [["--resume"], ["--task-id", "a"]])
def test_nothing_is_picked_from_a_queue(
    flag: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_of(capsys, argv=["--provider", "aws", "--job-id", "j", *flag])
    assert flag[0] in line
    assert "a queue knows by itself what is done" in line


def test_resuming_needs_an_event_log(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--task-file", "t.json", "--resume", "--no-event-log-to-file"]
    assert "--event-log-to-file" in error_of(capsys, argv=argv)


def test_post_mortem_debugging_is_debugging() -> None:
    settings = simple("--pdb").settings
    assert (settings.executor, settings.pdb) == ("inline", True)


def test_the_file_of_a_runs_failures_is_not_its_task_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = ["--run-dir", "run", "--task-file", "./run/failures.jsonl"]
    assert "records its own failures" in error_of(capsys, argv=argv)
