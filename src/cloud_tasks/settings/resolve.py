"""Resolve the :class:`Settings` of a worker from command line, environment and program.

    command line > environment > ``set_defaults`` of the program's parser > default of the table

All texts go through the same parser of the table, so a wrong value gives the same sentence
wherever it came from. The parser may be the program's own: our flags are added to it, and its
Namespace holds both.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from cloud_tasks.errors import ConfigurationError
from cloud_tasks.settings.derive import Draft, Origin, derive
from cloud_tasks.settings.row import Row
from cloud_tasks.settings.table import ROWS, Settings
from cloud_tasks.text import given

# The value in the Namespace of a flag that was not given. With it there argparse fills in no
# default, neither ours nor one of set_defaults.
_UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings of one worker and their origins.

    Attributes:
        origins: who gave each value.
        args: the Namespace: the program's own arguments, and ours with their final values.
        warnings: sentences to log once logging is set up.
        from_queue: tasks come from the provider's queue: there is neither a task file nor a
            source of the program's own.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    args: argparse.Namespace
    warnings: tuple[str, ...] = ()
    from_queue: bool = False


class _Value(argparse.Action):
    """A flag of ours that takes a value; it stays a text until all are parsed by the table."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, self._joined(getattr(namespace, self.dest, _UNSET), values))

    def _joined(self, before: Any, value: Any) -> Any:
        return value


class _Values(_Value):
    """A flag of ours that may be given more than once."""

    def _joined(self, before: Any, value: Any) -> Any:
        return [*(before if isinstance(before, list) else ()), value]


class _Boolean(argparse.BooleanOptionalAction):
    """A flag of ours that takes no value."""


# Their class tells our flags apart in a parser that has them already, was copied, or got them from
# a parent.
_OURS = (_Value, _Values, _Boolean)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of all settings to *parser*; may be called more than once.

    Raises:
        ConfigurationError: the parser defines one of the flags or destinations itself.
    """
    _check_for_clashes(parser)
    ours = {action.dest for action in parser._actions if isinstance(action, _OURS)}
    groups: dict[str, Any] = {}
    for row in ROWS.values():
        if row.name in ours:
            continue
        if row.group not in groups:
            groups[row.group] = parser.add_argument_group(row.group)
        add_row(groups[row.group], row, _program_default(parser, row.name))


def _check_for_clashes(parser: argparse.ArgumentParser) -> None:
    if "-" not in parser.prefix_chars:
        raise ConfigurationError("your parser's prefix_chars lack '-', with which our flags begin")
    our_flags = {flag for row in ROWS.values() for flag in row.option_strings}
    clashes = []
    for action in _foreign_actions(parser):
        taken = [flag for flag in action.option_strings if flag in our_flags]
        if taken:
            clashes += taken
        elif action.dest in ROWS:
            name = "/".join(action.option_strings) or "a positional argument"
            clashes.append(f"{name} with the destination {action.dest!r}")
    if clashes:
        raise ConfigurationError(
            f"your parser already defines {', '.join(dict.fromkeys(clashes))}: "
            "the worker needs the name for a setting of its own, so rename yours"
        )


def _foreign_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments that are not ours, those of subparsers included.

    A parser has no public list of its arguments, and without a check two with one destination
    would silently overwrite each other. A subparser's values overwrite those of its parent.
    """
    for action in parser._actions:
        if isinstance(action, _OURS):
            continue
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                yield from _foreign_actions(subparser)


def _program_default(parser: argparse.ArgumentParser, name: str) -> Any:
    """Return the value of *name* in the program's ``set_defaults``, or None."""
    default = parser.get_default(name)
    return None if default in ("", argparse.SUPPRESS) else default


def add_row(group: Any, row: Row, program_default: Any = None) -> None:
    """Add the flag of *row* to a parser or to one of its groups."""
    # SUPPRESS, so that the program's own parse_args() returns nothing that was not given, and
    # formatters have no default to print a second time.
    default = argparse.SUPPRESS if program_default is None else program_default
    options: dict[str, Any] = {"action": _Boolean}
    if not row.is_boolean:
        # The type is for formatters that show it.
        options = {"action": _Value, "metavar": row.metavar, "type": str}
        if row.repeated:
            options["action"] = _Values
        elif row.flag_value is not None:
            options |= {"nargs": "?", "const": row.flag_value}
    action = group.add_argument(*row.flags, dest=row.name, default=default, **options)
    # Set afterwards, because before Python 3.13 the boolean action appends a default of its own.
    action.help = row.help_text(None if program_default is None else "%(default)s")


def resolve(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    executor: object = None,
    has_task_source: bool = False,
    require_tasks: bool = True,
) -> Resolved:
    """Resolve the value of every setting; adds our flags to *parser* if they are missing.

    Args:
        parser: the program's parser, or a fresh one.
        argv: the command line without the program's name; None: that of this process.
        environ: the environment; None: that of this process.
        executor: the program's keyword: a name, an executor object, or None.
        has_task_source: the program gives a source of tasks.
        require_tasks: it is an error if there is no place for tasks, or no queue for events.

    Raises:
        ConfigurationError: our flags and the parser's own clash.
        SystemExit: a value is wrong; the parser has printed its usage and all problems.
    """
    add_arguments(parser)
    unset = argparse.Namespace(**dict.fromkeys(ROWS, _UNSET))
    args = parser.parse_args(argv, unset)
    draft = collect(parser, args, ROWS, environ)
    derive(draft, executor=executor, has_task_source=has_task_source, require_tasks=require_tasks)
    if draft.problems:
        parser.error("; ".join(draft.problems))
    for name, value in draft.values.items():
        setattr(args, name, value)
    return Resolved(
        settings=Settings(**draft.values),
        origins=draft.origins,
        args=args,
        warnings=tuple(draft.warnings),
        from_queue=draft.from_queue,
    )


def reject(
    parser: argparse.ArgumentParser, origins: Mapping[str, Origin], name: str, sentence: str
) -> NoReturn:
    """Refuse the value of the setting *name* for a reason that was found after resolving.

    Raises:
        ConfigurationError: the program gave the value.
        SystemExit: the command line or the environment did.
    """
    if origins[name] in ("command line", "environment"):
        parser.error(ROWS[name].complaint(sentence))
    raise ConfigurationError(sentence)


def collect(
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    names: Iterable[str],
    environ: Mapping[str, str] | None = None,
) -> Draft:
    """Return the settings *names* as they were given in *args*, in *environ*, or to *parser*."""
    environ = os.environ if environ is None else environ
    draft = Draft(values={}, origins={})
    for name in names:
        row = ROWS[name]
        origin, value = _given(row, parser, args, environ)
        draft.values[name] = row.default
        draft.origins[name] = origin
        if origin == "default":
            continue
        try:
            draft.values[name] = _parsed(row, value)
        except ValueError as error:
            draft.problems.append(row.complaint(str(error)))
    return draft


def _parsed(row: Row, value: object) -> Any:
    # As text even if the program gave a value with a type, so that all go through one parser.
    if row.repeated and isinstance(value, list | tuple):
        return tuple(part for each in value for part in row.parse(str(each)))
    return row.parse(str(value))


def _given(
    row: Row,
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    environ: Mapping[str, str],
) -> tuple[Origin, object]:
    value = getattr(args, row.name, _UNSET)
    if value is not _UNSET:
        return "command line", value
    variable = given(environ.get(row.env)) if row.env else None
    if variable is not None:
        return "environment", variable
    program = _program_default(parser, row.name)
    return ("default", None) if program is None else ("program", program)
