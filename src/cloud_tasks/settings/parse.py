"""Parse the text of a flag or a variable to a typed value, and render it back to text.

A parser returns a value or raises :class:`ValueError`; its message is the second half of a
sentence that begins with the names of the flag and the variable. :func:`argument` makes a parser
fit for argparse.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, TypeVar

from cloud_tasks.masking import masked
from cloud_tasks.policy import FailureLimit

Parse = Callable[[str], Any]
T = TypeVar("T")

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")

#: The longest duration, in seconds (31 years). Timers of the system overflow far above it.
_LONGEST = 1e9


def text(value: str) -> str:
    """Return *value* as it is; only the empty text is refused."""
    if not value:
        raise ValueError("must not be empty")
    return value


def boolean(value: str) -> bool:
    """Parse a yes or no, in any case."""
    word = value.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{quoted(value)} is none of {', '.join(_TRUE + _FALSE)}")
    return word in _TRUE


def whole(at_least: int, *, misfit: str = "is not a whole number") -> Callable[[str], int]:
    """Return a parser of whole numbers of *at_least* or more; *misfit*: what other texts are."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"{quoted(value)} {misfit}") from None
        if number < at_least:
            raise ValueError(f"must be {at_least} or more, not {quoted(value)}")
        return number

    return parse


def amount(of: str, *, zero: bool = True, at_most: float = math.inf) -> Callable[[str], float]:
    """Return a parser of finite numbers that are not negative; *zero* allows 0.

    *of* is the unit, in the plural, for the error's sentence.
    """

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{quoted(value)} is not a number of {of}")
        if number < 0 or (number == 0 and not zero):
            limit = "0 or more" if zero else "more than 0"
            raise ValueError(f"must be {limit}, not {quoted(value)}")
        if number > at_most:
            raise ValueError(f"must be {at_most:.0f} or less, not {quoted(value)}")
        return number

    return parse


def seconds(*, zero: bool = True) -> Callable[[str], float]:
    """Return a parser of durations in seconds; *zero* allows 0."""
    return amount("seconds", zero=zero, at_most=_LONGEST)


def one_of(*names: str, fold: Callable[[str], str]) -> Callable[[str], str]:
    """Return a parser of *names* in any case; it returns them as *fold* spells them."""

    def parse(value: str) -> str:
        name = fold(value.strip())
        if name not in names:
            raise ValueError(f"{quoted(value)} is none of {', '.join(names)}")
        return name

    return parse


def share_or_count(value: str) -> FailureLimit:
    """Parse a whole number of 1 or more, or a percentage, which ends with ``%``."""
    number = value.strip()
    if number.endswith("%"):
        share = amount("per cent", zero=False, at_most=100)(number[:-1])
        return FailureLimit(percent=share)
    return FailureLimit(count=whole(1, misfit="is neither a whole number nor a percentage")(value))


def listed(value: str) -> tuple[str, ...]:
    """Return a tuple of *value* alone; for a flag that may be given more than once."""
    return (text(value),)


def count_or_auto(value: str) -> int | str:
    """Parse a whole number of 1 or more, or the word ``auto``, which is returned as it is."""
    if value.strip().lower() == "auto":
        return "auto"
    return whole(1, misfit="is neither a whole number nor auto")(value)


def show(value: object) -> str:
    """Render *value* so that its parser returns the same value again; None is ``none``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return *parse* as a ``type=`` of argparse, which shows only errors of its own kind."""

    def convert(value: str) -> T:
        try:
            return parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def quoted(value: str) -> str:
    """Return *value* for an error's sentence: one line, in quotes, 80 characters, no secret."""
    value = masked(value)
    # repr keeps control characters out of the terminal; the rest of a pasted file helps no user.
    return repr(value if len(value) <= 80 else value[:77] + "...")
