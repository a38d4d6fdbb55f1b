"""Describe one setting: a :class:`Row`, and :func:`setting`, which writes one in the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cloud_tasks.settings.parse import Parse, boolean, show

T = TypeVar("T")

#: The start of every variable's name, unless a row gives the whole name.
PREFIX = "RMS_CLOUD_TASKS_"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting.

    Attributes:
        name: field of Settings and destination in the Namespace.
        default: the value if it is given nowhere.
        help: its meaning, in one sentence without a full stop.
        group: heading in ``--help`` and on the reference page.
        flags: the flag, then its aliases; without the ``--no-`` forms.
        env: the whole name of the variable; None: it has none.
        parse: turns the text of the flag or the variable into the value.
        metavar: placeholder of the value in ``--help``; None for booleans, which take no value.
        auto: for a derived default, the rule in words.
        exposed: tasks find it as an attribute of ``worker_data``.
        flag_value: the value of the flag if it is given without one; None: it needs one.
        repeated: the flag may be given more than once; the value is the tuple of all.
    """

    name: str
    default: Any
    help: str
    group: str
    flags: tuple[str, ...]
    env: str | None
    parse: Parse
    metavar: str | None
    auto: str | None
    exposed: bool
    flag_value: str | None = None
    repeated: bool = False

    @property
    def is_boolean(self) -> bool:
        """The flag takes no value: ``--flag`` or ``--no-flag``."""
        return self.metavar is None

    @property
    def flag(self) -> str:
        """The spelling for errors and lists: the first long one."""
        return next(flag for flag in self.flags if flag.startswith("--"))

    @property
    def option_strings(self) -> tuple[str, ...]:
        """All spellings that the command line accepts, with the ``--no-`` forms."""
        if not self.is_boolean:
            return self.flags
        return (*self.flags, *(f"--no-{f[2:]}" for f in self.flags if f.startswith("--")))

    @property
    def default_text(self) -> str:
        """The default, for help texts and the reference page."""
        return self.auto or show(self.default)

    def help_text(self, default: str | None = None) -> str:
        """Return the text for ``--help``; each ``%`` is doubled, because argparse expands it.

        *default* is shown as the default, in argparse's notation; None: the row's own.
        """
        shown = default or _escaped(self.default_text)
        variable = f"[env: {self.env}] " if self.env else ""
        return f"{_escaped(self.help)} {variable}[default: {shown}]"

    def complaint(self, sentence: str) -> str:
        """Return the error that its value is wrong; it names the flag and the variable."""
        variable = f" ({self.env})" if self.env else ""
        return f"argument {self.flag}{variable}: {sentence}"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def setting(
    default: T,
    help: str,
    *,
    group: str,
    parse: Parse = boolean,
    metavar: str | None = None,
    flag: str | None = None,
    aliases: tuple[str, ...] = (),
    env: str | None = None,
    auto: str | None = None,
    exposed: bool = True,
    flag_value: str | None = None,
    repeated: bool = False,
) -> T:
    """Return a dataclass field that carries a row; :class:`Row` explains the other arguments.

    *flag* is given if it is not the field's name with hyphens, and *env* if it is not that name in
    capitals; :data:`PREFIX` is put before it unless it starts with ``RMS_``. Empty: no variable.
    """
    row = {
        "help": help,
        "group": group,
        "parse": parse,
        "metavar": metavar,
        "flag": flag,
        "aliases": aliases,
        "env": env,
        "auto": auto,
        "exposed": exposed,
        "flag_value": flag_value,
        "repeated": repeated,
    }
    made: T = field(default=default, metadata=row)
    return made


def make_row(name: str, default: Any, metadata: Mapping[str, Any]) -> Row:
    """Return the row of the field *name* from the *metadata* that :func:`setting` put there."""
    columns = dict(metadata)
    flag = columns.pop("flag") or f"--{name.replace('_', '-')}"
    env = columns.pop("env")
    if env is None:
        env = name.upper()
    if env and not env.startswith("RMS_"):
        env = PREFIX + env
    flags = (flag, *columns.pop("aliases"))
    return Row(name=name, default=default, flags=flags, env=env or None, **columns)
