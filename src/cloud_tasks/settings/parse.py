"""From the text of a flag or a variable to a typed value, and back to text.

Each parser takes a text and returns a value or raises :class:`ValueError` whose message is the
second half of a sentence that begins with the flag's and the variable's names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cloud_tasks.policy import FailureLimit

Parse = Callable[[str], Any]

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")

#: Longest duration, in seconds (31 years). Far above it the system's timers overflow.
_LONGEST = 1e9


def text(value: str) -> str:
    """Take *value* as it is; only nothing at all is refused."""
    if not value:
        raise ValueError("must not be empty")
    return value


def boolean(value: str) -> bool:
    """Read a yes or no, in any case."""
    word = value.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError(f"{quoted(value)} is none of {', '.join(_TRUE + _FALSE)}")
    return word in _TRUE


def whole(at_least: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from *at_least* up."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ValueError(f"{quoted(value)} is not a whole number") from None
        if number < at_least:
            raise ValueError(f"must be {at_least} or more, not {quoted(value)}")
        return number

    return parse


def amount(of: str, *, zero: bool = True, at_most: float = math.inf) -> Callable[[str], float]:
    """Return a parser of finite numbers that are not negative.

    Args:
        of: what is counted, in the plural, for the error's sentence.
        zero: 0 makes sense.
        at_most: the largest that does.
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
    """Return a parser of durations; *zero* says whether 0 makes sense."""
    return amount("seconds", zero=zero, at_most=_LONGEST)


def one_of(*names: str, fold: Callable[[str], str]) -> Callable[[str], str]:
    """Return a parser of *names* in any case; they are spelled as *fold* makes them."""

    def parse(value: str) -> str:
        name = fold(value.strip())
        if name not in names:
            raise ValueError(f"{quoted(value)} is none of {', '.join(names)}")
        return name

    return parse


def share_or_count(value: str) -> FailureLimit:
    """Read a whole number from 1 up, or a percentage, which ends with ``%``."""
    number = value.strip()
    if number.endswith("%"):
        share = amount("per cent", zero=False, at_most=100)(number[:-1])
        return FailureLimit(percent=share)
    try:
        int(number)
    except ValueError:
        raise ValueError(f"{quoted(value)} is neither a whole number nor a percentage") from None
    return FailureLimit(count=whole(1)(number))


def listed(value: str) -> tuple[str, ...]:
    """Take *value* as the only one of a list."""
    return (text(value),)


def count_or_auto(value: str) -> int | str:
    """Read a whole number from 1 up, or the word ``auto``, which is left as it is."""
    if value.strip().lower() == "auto":
        return "auto"
    try:
        int(value)
    except ValueError:
        raise ValueError(f"{quoted(value)} is neither a whole number nor auto") from None
    return whole(1)(value)


def show(value: object) -> str:
    """Render *value* so that its parser reads the same value again; None is ``none``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def quoted(value: str) -> str:
    """Return *value* as an error shows it: on one line, in quotes, cut if it is long."""
    # repr keeps control characters out of the terminal; a pasted file is not worth showing.
    return repr(value if len(value) <= 80 else value[:77] + "...")
