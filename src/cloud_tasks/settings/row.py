"""What a row of the table of settings is, and how one is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cloud_tasks.settings.parse import Parse, boolean, show

T = TypeVar("T")

#: Every variable starts so, unless a row writes its name whole.
PREFIX = "RMS_CLOUD_TASKS_"


@dataclass(frozen=True, slots=True)
class Row:
    """One setting.

    Attributes:
        name: field of Settings and destination in the Namespace.
        default: what holds if nobody says anything.
        help: its meaning, in one sentence without a full stop.
        group: heading in ``--help`` and on the reference page.
        flags: the flag, then its other spellings; without the ``--no-`` forms.
        env: the variable, whole; None: it has none.
        parse: from text to value.
        metavar: stands for the value in ``--help``; None for booleans, which take none.
        auto: how the default is derived, where it is.
        told: tasks find it in ``worker_data``.
        bare: what the flag without a value stands for; None: it needs one.
        repeated: the flag may be given more than once; its value is the tuple of all.
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
    told: bool
    bare: str | None = None
    repeated: bool = False

    @property
    def is_boolean(self) -> bool:
        """It takes no value: ``--flag`` or ``--no-flag``."""
        return self.metavar is None

    @property
    def flag(self) -> str:
        """The spelling by which errors and lists name it: the first long one."""
        return next(flag for flag in self.flags if flag.startswith("--"))

    @property
    def option_strings(self) -> tuple[str, ...]:
        """All that a command line may say, with the ``--no-`` forms."""
        if not self.is_boolean:
            return self.flags
        return (*self.flags, *(f"--no-{f[2:]}" for f in self.flags if f.startswith("--")))

    @property
    def default_text(self) -> str:
        """The default, for people."""
        return self.auto or show(self.default)

    def help_text(self, default: str | None = None) -> str:
        """Return what ``--help`` says; every ``%`` is doubled, as argparse gives it a meaning.

        Args:
            default: what to show as the default, in argparse's words; None: the row's own.
        """
        shown = default or _escaped(self.default_text)
        variable = f"[env: {self.env}] " if self.env else ""
        return f"{_escaped(self.help)} {variable}[default: {shown}]"

    def complaint(self, sentence: str) -> str:
        """Say what is wrong with its value: the same words for the flag and the variable."""
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
    also: tuple[str, ...] = (),
    env: str | None = None,
    auto: str | None = None,
    told: bool = True,
    bare: str | None = None,
    repeated: bool = False,
) -> T:
    """Make a row; see :class:`Row`.

    Args:
        default: of the field's type.
        help: see Row.
        group: see Row.
        parse: see Row; the default makes a boolean.
        metavar: needed by everything but booleans.
        flag: the flag where it is not the field's name with hyphens.
        also: other spellings of the flag.
        env: the variable where it is not the field's name in capitals; the prefix is put before
            it unless it starts with ``RMS_``. Empty: no variable.
        auto: see Row.
        told: see Row.
        bare: see Row.
        repeated: see Row.
    """
    row = {
        "help": help,
        "group": group,
        "parse": parse,
        "metavar": metavar,
        "flag": flag,
        "also": also,
        "env": env,
        "auto": auto,
        "told": told,
        "bare": bare,
        "repeated": repeated,
    }
    made: T = field(default=default, metadata=row)
    return made


def make_row(name: str, default: Any, metadata: Mapping[str, Any]) -> Row:
    """Make the row of the field *name* from what :func:`setting` left in it."""
    columns = dict(metadata)
    flag = columns.pop("flag") or f"--{name.replace('_', '-')}"
    env = columns.pop("env")
    if env is None:
        env = name.upper()
    if env and not env.startswith("RMS_"):
        env = PREFIX + env
    flags = (flag, *columns.pop("also"))
    return Row(name=name, default=default, flags=flags, env=env or None, **columns)
