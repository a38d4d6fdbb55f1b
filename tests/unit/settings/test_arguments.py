"""Our flags on a program's own parser."""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys

import pytest
from leftovers import leaves_nothing_behind  # noqa: F401  (around each test here)

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.settings.resolve import add_arguments, resolve
from cloud_tasks.settings.row import Row
from cloud_tasks.settings.table import ROWS

pytestmark = pytest.mark.interpreter

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def help_of(parser: argparse.ArgumentParser) -> str:
    return " ".join(parser.format_help().split())


def unspaced(text: str) -> str:
    return "".join(text.split())


def test_help_shows_the_programs_arguments_and_ours() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--colour", help="theirs")
    add_arguments(parser)
    text = help_of(parser)
    assert "--colour COLOUR theirs" in text
    assert (
        "--max-runtime SECONDS kill a task that runs longer than this "
        "[env: RMS_CLOUD_TASKS_MAX_RUNTIME] [default: 600]" in text
    )


def test_help_lists_the_providers_of_ours() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert "in any case: AWS, GCP, AZURE, or a name that another package" in help_of(parser)


@pytest.mark.parametrize(
    "formatter",
    [
        argparse.HelpFormatter,
        argparse.ArgumentDefaultsHelpFormatter,
        argparse.RawTextHelpFormatter,
        argparse.MetavarTypeHelpFormatter,
    ],
)
def test_help_works_with_every_formatter(formatter: type[argparse.HelpFormatter]) -> None:
    parser = argparse.ArgumentParser(formatter_class=formatter)
    add_arguments(parser)
    # A line may end at any hyphen of a flag.
    text = unspaced(parser.format_help())
    for row in ROWS.values():
        assert unspaced(f"[default: {row.default_text}]") in text
    assert "(default:" not in text
    assert "SUPPRESS" not in text


def test_help_shows_the_programs_own_default_once() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.set_defaults(max_runtime=5, retry_on_exit=True)
    add_arguments(parser)
    text = help_of(parser)
    assert "[env: RMS_CLOUD_TASKS_MAX_RUNTIME] [default: 5]" in text
    assert "[env: RMS_CLOUD_TASKS_RETRY_ON_EXIT] [default: True]" in text
    assert "(default:" not in text


def test_percent_signs_in_help_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    row = copy.copy(ROWS["max_runtime"])
    object.__setattr__(row, "help", "about 100% of the time")
    monkeypatch.setitem(ROWS, "max_runtime", row)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert "about 100% of the time" in help_of(parser)


def test_argument_default_suppress_of_the_program_changes_nothing() -> None:
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    parser.add_argument("--colour")
    found = resolve(parser, ["--task-file", "t.json"], {})
    assert found.settings.max_runtime == 600.0
    assert "colour" not in found.args


def test_flags_are_added_once_to_a_parser_that_is_used_twice() -> None:
    parser = argparse.ArgumentParser()
    first = resolve(parser, ["--task-file", "a"], {})
    second = resolve(parser, ["--task-file", "b"], {})
    assert (first.settings.task_file, second.settings.task_file) == ("a", "b")
    assert parser.format_help().count("\nRetries:") == 1


def test_a_default_that_is_set_between_two_workers_counts() -> None:
    parser = argparse.ArgumentParser()
    resolve(parser, ["--task-file", "a"], {})
    parser.set_defaults(max_runtime=7)
    assert resolve(parser, ["--task-file", "a"], {}).settings.max_runtime == 7.0


def test_flags_are_known_again_in_copies_and_children_of_a_parser() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    child = argparse.ArgumentParser(parents=[parser])
    for relative in (copy.deepcopy(parser), child):
        assert resolve(relative, ["--task-file", "a"], {}).settings.task_file == "a"


def test_a_program_may_parse_known_args_before_and_after() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--colour")
    argv = ["--colour", "red", "--task-file", "t.json"]
    known, rest = parser.parse_known_args(argv)
    assert (known.colour, rest) == ("red", ["--task-file", "t.json"])
    found = resolve(parser, argv, {})
    assert (found.args.colour, found.args.task_file) == ("red", "t.json")
    later, _ = parser.parse_known_args(["--colour", "red"])
    assert vars(later) == {"colour": "red"}


@every_row
def test_a_flag_of_the_programs_own_is_a_clear_error(row: Row) -> None:
    for flag in row.option_strings:
        parser = argparse.ArgumentParser(conflict_handler="resolve")
        parser.add_argument(flag, dest="other")
        with pytest.raises(ConfigurationError, match=f"your parser already defines {flag}:"):
            add_arguments(parser)


@every_row
def test_a_destination_of_the_programs_own_is_a_clear_error(row: Row) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--other", dest=row.name)
    with pytest.raises(ConfigurationError, match=f"--other with the destination '{row.name}'"):
        add_arguments(parser)


def test_a_positional_argument_with_our_name_is_a_clear_error() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("provider")
    with pytest.raises(ConfigurationError, match="a positional argument with the destination"):
        add_arguments(parser)


def test_all_clashes_are_told_at_once() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--provider")
    with pytest.raises(ConfigurationError, match="already defines -v, --verbose, --provider:"):
        add_arguments(parser)


def test_a_clash_leaves_the_programs_parser_as_it_was() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--exit-zero")
    before = parser.format_help()
    with pytest.raises(ConfigurationError):
        add_arguments(parser)
    assert parser.format_help() == before


def test_a_clash_in_a_subparser_is_a_clear_error() -> None:
    parser = argparse.ArgumentParser()
    parser.add_subparsers().add_parser("render").add_argument("--verbose", action="store_true")
    with pytest.raises(ConfigurationError, match="already defines --verbose:"):
        add_arguments(parser)


def test_a_subparser_without_a_clash_works() -> None:
    parser = argparse.ArgumentParser()
    parser.add_subparsers(dest="command").add_parser("render").add_argument("--dpi", type=int)
    found = resolve(parser, ["--task-file", "t", "render", "--dpi", "9"], {})
    assert (found.args.command, found.args.dpi, found.settings.task_file) == ("render", 9, "t")


def test_a_parser_whose_flags_begin_otherwise_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="prefix_chars"):
        add_arguments(argparse.ArgumentParser(prefix_chars="+"))


def test_double_v_belongs_to_the_program() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-vv", "--very-verbose", action="store_true")
    theirs = resolve(parser, ["--task-file", "t", "-vv"], {})
    assert theirs.args.very_verbose
    assert not theirs.settings.verbose
    ours = resolve(parser, ["--task-file", "t", "-v"], {})
    assert not ours.args.very_verbose
    assert ours.settings.verbose


@pytest.mark.parametrize("allowed", [True, False])
def test_abbreviations_are_the_parsers_affair(allowed: bool) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=allowed)
    argv = ["--task-file", "t", "--max-run", "5"]
    if allowed:
        assert resolve(parser, argv, {}).settings.max_runtime == 5.0
    else:
        with pytest.raises(SystemExit):
            resolve(parser, argv, {})


def test_importing_the_settings_loads_nothing_heavy() -> None:
    code = (
        "import sys, cloud_tasks.settings.resolve, cloud_tasks.settings.reference;"
        "print(*sorted({'loky', 'rich', 'psutil', 'yaml', 'filecache', 'asyncio',"
        " 'multiprocessing', 'cloud_tasks.worker_data'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.strip() == ""
